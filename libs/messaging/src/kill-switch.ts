import { errorCode, errorMessage, type Clock, type TimerHandle } from '@flotilla/kernel';
import { errorGroup } from './error-group.ts';

/** When a consumer whose handler fails on everything pauses itself, and how it finds out that it may go on. */
export interface KillSwitchOptions {
  /** So many different messages in a row, with the same fault, pause the consumer. */
  readonly failures: number;
  /** Failures that lie further apart are not in a row, in milliseconds. */
  readonly windowMs: number;
  /** The pause before the first probe, in milliseconds; it doubles with each that fails. */
  readonly probeInitialMs: number;
  /** The longest pause between two probes, in milliseconds. */
  readonly probeMaxMs: number;
  /**
   * Whether an error is the message's fault and says nothing about the handler. Default: those that say
   * `retry: 'never'`, among them refusals and messages that cannot be read.
   */
  readonly isMessageFault?: (error: unknown) => boolean;
}

/** Why and since when a consumer is paused. */
export interface ConsumerPause {
  /** Milliseconds since the epoch. */
  readonly since: number;
  readonly errorCode: string;
  readonly errorMessage: string;
  /** Probes that have failed so far. */
  readonly probes: number;
  /** When the next message is tried; undefined while one is, or is waited for. */
  readonly nextProbeAt: number | undefined;
}

export interface KillSwitchSetup {
  readonly options: KillSwitchOptions;
  readonly clock: Clock;
  /** How many messages may be asked for from now on: none, one, or, undefined, as many as there is room for. */
  readonly permit: (messages: 0 | 1 | undefined) => void;
  readonly onPaused: (pause: ConsumerPause, failures: number) => void;
  readonly onResumed: (pause: ConsumerPause) => void;
}

/** Messages known to have failed, at most. */
const MAX_SUSPECTS = 1_000;

/**
 * Tells a handler that fails on everything from messages that fail. `paused` is all that a working consumer pays for.
 *
 * A probe is one message. While others wait, it is none that has failed already: the handler may be in order, and only
 * those messages not.
 */
export class KillSwitch {
  readonly #setup: KillSwitchSetup;
  readonly #isMessageFault: (error: unknown) => boolean;
  /** Messages that failed in a row, and when last; while paused, all that are known to fail. */
  readonly #suspects = new Map<number, number>();
  /** Messages that have failed although the handler then worked for others: what they do says nothing about it. */
  readonly #known = new Set<number>();
  #group = '';
  #pause: ConsumerPause | undefined;
  #intervalMs = 0;
  /** `waiting` for the time of the next probe, `ready` for its message, or the message's sequence. */
  #probe: 'waiting' | 'ready' | number = 'waiting';
  #timer: TimerHandle | undefined;
  #stopped = false;
  /** Whether messages are held back. */
  paused = false;

  constructor(setup: KillSwitchSetup) {
    this.#setup = setup;
    this.#isMessageFault = setup.options.isMessageFault ?? saysNever;
  }

  get pause(): ConsumerPause | undefined {
    return this.#pause;
  }

  /** For how long a message is given back that is not to be tried now. */
  get releaseMs(): number {
    return this.#intervalMs;
  }

  /** While paused: whether this message is to be tried. `pending`: how many wait behind it. */
  admits(sequence: number, pending: number): boolean {
    if (this.#probe !== 'ready') return false;
    if (pending > 0 && this.#suspects.has(sequence)) return false;
    this.#probe = sequence;
    this.#setup.permit(0);
    return true;
  }

  /** A handler has done its work: it is in order. */
  succeeded(): void {
    if (this.#suspects.size > 0) this.#acquit();
    const pause = this.#pause;
    if (pause === undefined) return;
    this.#timer?.cancel();
    this.#pause = undefined;
    this.paused = false;
    this.#setup.permit(undefined);
    this.#setup.onResumed(pause);
  }

  /**
   * A handler has failed. Returns the delay after which the message is to come again without having its attempt
   * counted; undefined when the failure is to be treated like any other.
   */
  failed(sequence: number, error: unknown): number | undefined {
    const isProbe = this.#probe === sequence;
    if (this.#isMessageFault(error)) {
      if (isProbe) this.#ready();
      return undefined;
    }
    const { failures } = this.#setup.options;
    const group = errorGroup(error);
    if (!this.paused) {
      if (this.#known.has(sequence)) return undefined;
      if (group !== this.#group) this.#suspects.clear();
      this.#group = group;
      this.#suspect(sequence);
      this.#forgetOld();
      if (this.#suspects.size < failures) return undefined;
      this.#open(error);
      return this.releaseMs;
    }
    if (isProbe && group !== this.#group) {
      // Another fault than the one that all had: this message's, perhaps.
      this.#wait();
      return undefined;
    }
    this.#suspect(sequence);
    if (!isProbe) return this.releaseMs;
    this.#intervalMs = Math.min(this.#setup.options.probeMaxMs, this.#intervalMs * 2);
    if (this.#pause !== undefined) this.#pause = { ...this.#pause, probes: this.#pause.probes + 1 };
    this.#wait();
    // Later than the next probe, so that another message has its turn.
    return this.#intervalMs * 2;
  }

  /** A probe ended without a word about the handler: its message was given back, or is somebody else's. */
  undecided(sequence: number): void {
    if (this.#probe === sequence) this.#ready();
  }

  /** Tries a message now; does nothing when it is not paused. */
  probeNow(): void {
    if (this.#pause === undefined || this.#probe !== 'waiting') return;
    this.#timer?.cancel();
    this.#ready();
  }

  /**
   * Ends the pause without a probe: somebody knows that the handler is in order. Those messages that have failed are
   * ordinary failures from now on.
   */
  resume(): void {
    if (this.#pause !== undefined) this.succeeded();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #open(error: unknown): void {
    const { options, clock, onPaused, permit } = this.#setup;
    this.paused = true;
    this.#intervalMs = options.probeInitialMs;
    this.#pause = {
      since: clock.now(),
      errorCode: errorCode(error),
      errorMessage: errorMessage(error),
      probes: 0,
      nextProbeAt: undefined,
    };
    permit(0);
    this.#wait();
    onPaused(this.#pause, this.#suspects.size);
  }

  #wait(): void {
    if (this.#stopped || this.#pause === undefined) return;
    const { clock } = this.#setup;
    this.#probe = 'waiting';
    this.#pause = { ...this.#pause, nextProbeAt: clock.now() + this.#intervalMs };
    this.#timer = clock.after(this.#intervalMs, () => this.#ready());
  }

  #ready(): void {
    if (this.#stopped || this.#pause === undefined) return;
    this.#probe = 'ready';
    this.#pause = { ...this.#pause, nextProbeAt: undefined };
    this.#setup.permit(1);
  }

  /** The handler is in order: it is these messages. */
  #acquit(): void {
    for (const sequence of this.#suspects.keys()) this.#known.add(sequence);
    this.#suspects.clear();
    for (const sequence of this.#known) {
      if (this.#known.size <= MAX_SUSPECTS) return;
      this.#known.delete(sequence);
    }
  }

  #suspect(sequence: number): void {
    this.#suspects.delete(sequence);
    this.#suspects.set(sequence, this.#setup.clock.monotonicMs());
    if (this.#suspects.size > MAX_SUSPECTS) this.#forgetFirst();
  }

  #forgetOld(): void {
    const since = this.#setup.clock.monotonicMs() - this.#setup.options.windowMs;
    for (const at of this.#suspects.values()) {
      if (at >= since) return;
      this.#forgetFirst();
    }
  }

  #forgetFirst(): void {
    const first = this.#suspects.keys().next();
    if (!first.done) this.#suspects.delete(first.value);
  }
}

/** A pause in a line, for health and status. */
export function pauseLine(consumer: string, pause: ConsumerPause): string {
  const { since, errorCode: code, errorMessage: message, probes } = pause;
  return (
    `consumer ${consumer} is paused since ${new Date(since).toISOString()}, because its handler fails on everything: ` +
    `${code}: ${message} (${probes} probes have failed)`
  );
}

function saysNever(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'retry' in error && error.retry === 'never';
}
