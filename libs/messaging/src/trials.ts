import { trialSubject } from './topology.ts';

/** A message that may be what ended the processes which had it: it came again and again without a known failure. */
export interface Suspect {
  readonly consumer: string;
  readonly messageId: string;
}

/** What the trials of a suspect, in whatever process, have shown. */
export interface TrialRecord {
  /** Trials in a row that never ended: the process did, or the handler was stuck. */
  readonly unended: number;
  /** Trials whose handler threw. */
  readonly failed: number;
}

/** Keeps the last text that was written to a subject, for longer than a process lives. */
export interface TrialStore {
  read(subject: string): Promise<string | undefined>;
  /** Resolves when it is stored durably. */
  write(subject: string, text: string): Promise<void>;
}

const NO_TRIAL: TrialRecord = { unended: 0, failed: 0 };

/**
 * The suspects of one process: only one of them is handled at a time, and its record says so before it is. So a message
 * that ends its process is known by that, and those beside it are not taken for it.
 */
export class Trials {
  readonly #service: string;
  readonly #store: TrialStore;
  /** Those that wait for their turn, first come first, with what starts them. */
  readonly #waiting = new Map<object, () => void>();
  #current: object | undefined;

  constructor(service: string, store: TrialStore) {
    this.#service = service;
    this.#store = store;
  }

  /** Calls `start` when it is the turn of `who`, at once if nobody else has it; it then keeps it until it leaves. */
  enter(who: object, start: () => void): void {
    this.#waiting.set(who, start);
    this.#next();
  }

  /** Ends the turn of `who`, or its wait for one. Nothing happens if it has neither. */
  leave(who: object): void {
    this.#waiting.delete(who);
    if (this.#current !== who) return;
    this.#current = undefined;
    this.#next();
  }

  async recordOf(suspect: Suspect): Promise<TrialRecord> {
    const text = await this.#store.read(this.#subject(suspect));
    return text === undefined ? NO_TRIAL : (JSON.parse(text) as TrialRecord);
  }

  record(suspect: Suspect, { unended, failed }: TrialRecord): Promise<void> {
    return this.#store.write(this.#subject(suspect), JSON.stringify({ unended, failed }));
  }

  #next(): void {
    if (this.#current !== undefined) return;
    const [next] = this.#waiting;
    if (next === undefined) return;
    const [who, start] = next;
    this.#waiting.delete(who);
    this.#current = who;
    start();
  }

  #subject({ consumer, messageId }: Suspect): string {
    return trialSubject(this.#service, consumer, messageId);
  }
}
