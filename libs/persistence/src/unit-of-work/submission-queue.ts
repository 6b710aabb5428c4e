import type { Submission } from './submission.ts';

/** The submissions of one key, in order. Only one group at a time takes from a chain. */
interface Chain {
  readonly key: string | undefined;
  readonly waiting: Submission[];
  taken: boolean;
}

/** What one transaction carries, and the chains that are blocked until it has ended. */
export interface Group {
  readonly members: readonly Submission[];
  /** Whether the members may overlap: all are independent. */
  readonly independent: boolean;
  /**
   * The members of an independent group, a wave after the other: those of one wave share neither key nor lock and run
   * at the same time, those of the next begin when it has ended. Of a group that is not independent: none.
   */
  readonly waves: readonly (readonly Submission[])[];
  readonly chains: readonly unknown[];
}

/** Waves of a group at most: each is at least a round trip more until its first members are answered. */
const MAX_WAVES = 8;

/** A group in the making. */
interface Draft {
  readonly members: Submission[];
  readonly waves: Submission[][];
  readonly messages: Set<string>;
  /** The wave after the last one that has a lock. */
  readonly locks: Map<string, number>;
  readonly limit: number;
}

/**
 * Submissions that wait, arranged so that a group is taken in time proportional to its size, however many wait:
 * submissions with the same key (else: the same message) form a chain, and only chains that no running group has
 * taken from stand in the line.
 */
export class SubmissionQueue {
  readonly #chains = new Map<string, Chain>();
  #line: Chain[] = [];
  #head = 0;
  #size = 0;

  /** How many submissions wait. */
  get size(): number {
    return this.#size;
  }

  /** How many chains could be taken from now. */
  get ready(): number {
    return this.#line.length - this.#head;
  }

  add(submission: Submission): void {
    this.#size += 1;
    const key = chainKey(submission);
    const chain = key === undefined ? undefined : this.#chains.get(key);
    if (chain !== undefined) {
      chain.waiting.push(submission);
      return;
    }
    this.#open(key, [submission]);
  }

  /**
   * Puts submissions that ran in vain back before all others of their chains: to run one after another, or each in a
   * group of its own.
   */
  addAgain(submissions: readonly Submission[], group: Group, how: 'in sequence' | 'alone'): void {
    for (const submission of submissions.toReversed()) {
      this.#size += 1;
      submission.independent = false;
      submission.alone = how === 'alone';
      const key = chainKey(submission);
      const chain = key === undefined ? undefined : this.#chains.get(key);
      if (chain !== undefined) chain.waiting.unshift(submission);
      else this.#open(key, [submission]);
    }
    this.release(group);
  }

  /** The next group, of at most `limit`; undefined when nothing can run. Call {@link release} when it has ended. */
  take(limit: number): Group | undefined {
    const chains: Chain[] = [];
    const draft: Draft = { members: [], waves: [], messages: new Set(), locks: new Map(), limit };
    while (draft.members.length < limit && this.ready > 0) {
      const chain = this.#line[this.#head] as Chain;
      if (!fits(chain.waiting[0], draft)) break;
      this.#head += 1;
      chain.taken = true;
      chains.push(chain);
      this.#takeFrom(chain, draft);
      if (draft.members[0]?.alone === true) break;
    }
    if (this.#head > 1_024 && this.#head * 2 > this.#line.length) {
      this.#line = this.#line.slice(this.#head);
      this.#head = 0;
    }
    const [first] = draft.members;
    return first && { members: draft.members, independent: first.independent, waves: draft.waves, chains };
  }

  /** Lets the chains of a group that has ended be taken from again. */
  release(group: Group): void {
    for (const chain of group.chains as readonly Chain[]) {
      if (!chain.taken) continue;
      chain.taken = false;
      if (chain.waiting.length > 0) this.#line.push(chain);
      else if (chain.key !== undefined) this.#chains.delete(chain.key);
    }
  }

  /** Empties the queue. */
  drop(): Submission[] {
    const dropped = this.#line.slice(this.#head).flatMap((chain) => chain.waiting.splice(0));
    for (const chain of this.#chains.values()) dropped.push(...chain.waiting.splice(0));
    this.#line = [];
    this.#head = 0;
    this.#chains.clear();
    this.#size = 0;
    return dropped;
  }

  #takeFrom(chain: Chain, draft: Draft): void {
    const { members, waves, messages, locks, limit } = draft;
    let wave = 0;
    for (;;) {
      const next = chain.waiting[0];
      if (next === undefined || members.length >= limit || !fits(next, { members })) return;
      const message = messageOf(next);
      // The second of two deliveries waits for the outcome of the first.
      if (message !== undefined && messages.has(message)) return;
      if (next.independent) {
        for (const lock of next.locks) wave = Math.max(wave, locks.get(lock) ?? 0);
        if (wave >= MAX_WAVES) return;
        (waves[wave] ??= []).push(next);
        wave += 1;
        for (const lock of next.locks) locks.set(lock, wave);
      }
      if (message !== undefined) messages.add(message);
      chain.waiting.shift();
      this.#size -= 1;
      members.push(next);
      if (next.alone) return;
    }
  }

  #open(key: string | undefined, waiting: Submission[]): void {
    const chain: Chain = { key, waiting, taken: false };
    if (key !== undefined) this.#chains.set(key, chain);
    this.#line.push(chain);
  }
}

/** Whether a group may hold both what it has and `next`. */
function fits(next: Submission | undefined, { members: [first] }: Pick<Draft, 'members'>): boolean {
  if (first === undefined || next === undefined) return true;
  return !next.alone && next.independent === first.independent;
}

function chainKey(submission: Submission): string | undefined {
  if (submission.key !== undefined) return `key ${submission.key}`;
  const message = messageOf(submission);
  return message === undefined ? undefined : `message ${message}`;
}

function messageOf({ entry }: Submission): string | undefined {
  return entry && `${entry.consumer}/${entry.messageId}`;
}
