import { backoffDelayMs, errorCode, errorMessage, type Clock, type TimerHandle } from '@flotilla/kernel';
import type { Delivery, IncomingMessage } from './broker.ts';
import type { ResolvedConsumeOptions } from './consume.options.ts';
import {
  attemptRecord,
  deadLetterOf,
  replayHeader,
  type AttemptRecord,
  type DeadLetterMessage,
} from './dead-letter.ts';
import { KillSwitch, type ConsumerPause, type KillSwitchOptions } from './kill-switch.ts';
import { decodeMessage } from './message.ts';
import { DeliveryCountExceededError } from './messaging.errors.ts';
import type { MessagingLog } from './messaging-log.ts';
import type { MessagingMetrics } from './messaging-metrics.ts';
import { patienceMs, saysNotYet, settlementOf, waitingDelayMs } from './settlement.ts';

/** A delivery as the broker's client gives it, with the means to settle it. */
export interface RawDelivery {
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  readonly attempt: number;
  readonly stream: string;
  readonly sequence: number;
  readonly pending: number;
  ack(): void;
  nak(delayMs: number): void;
  term(reason: string): void;
  working(): void;
  /** The runner no longer holds it: there is room for another. */
  released(): void;
}

export interface DeliveryRunnerOptions {
  /** The consumer's name, without a partition. */
  readonly consumer: string;
  readonly options: ResolvedConsumeOptions;
  readonly handler: (delivery: Delivery) => Promise<void>;
  /** Stores a dead letter durably, or rejects. */
  readonly publishDeadLetter: (message: DeadLetterMessage) => Promise<void>;
  /** Told how many messages may be asked for: none or one while the consumer is paused, undefined for no such limit. */
  readonly onPermit?: (messages: 0 | 1 | undefined) => void;
  /** Messages held by the process that may be what ended others; one set for all its runners. Default one of its own. */
  readonly suspects?: Set<object>;
  /** How long the server waits for word of a message, in milliseconds; it may change. */
  readonly ackWaitMs: () => number;
  readonly clock: Clock;
  readonly metrics: MessagingMetrics;
  readonly log: MessagingLog;
}

/** The pauses between two looks whether what a handler needs is back. */
const OUTAGE_PAUSE = { initialMs: 100, maxMs: 5_000 };
/** A delay for what is given back without having failed: another process may take it at once. */
const GIVE_BACK_MS = 50;
const MAX_REMEMBERED_FAILURES = 2_000;
const MAX_HISTORY = 10;
const MAX_FORGIVEN = 20_000;
/** Suspects come again so late at most, each at a moment of its own, in milliseconds. */
const SCATTER_MS = 10_000;
/** So often a suspect is put off by one process at most. */
const MAX_SCATTERS = 20;
/** A dead letter that could not be written is tried again well before; after that it is another process's. */
const UNWRITTEN_FOR_MS = 300_000;

/**
 * Runs the handler for the deliveries of one consumption: per key one after another, at most `maxInFlight` at once,
 * and settles each. Knows nothing of NATS; the in-memory broker has the same.
 */
export class DeliveryRunner {
  readonly #setup: DeliveryRunnerOptions;
  /** Everything received and not settled, by stream sequence. */
  readonly #held = new Map<number, HeldDelivery>();
  /** Keys that have a delivery ready or running, and those behind it. */
  readonly #byKey = new Map<string, HeldDelivery[]>();
  readonly #failures = new Map<number, Failures>();
  readonly #switch: KillSwitch | undefined;
  readonly #suspects: Set<object>;
  /** Deliveries that were given back while paused, or to come apart from others, by stream sequence: they are no attempts. */
  readonly #forgiven = new Map<number, number>();
  /** Messages whose dead letter could not be written, and when that was tried last. */
  readonly #unwritten = new Map<number, number>();
  #ready: HeldDelivery[] = [];
  #readyFrom = 0;
  #running = 0;
  /** Messages held that wait for something else to arrive. */
  #waiting = 0;
  #maxInFlight: number;
  readonly #stop = new AbortController();
  #idle: (() => void) | undefined;

  constructor(setup: DeliveryRunnerOptions) {
    this.#setup = setup;
    this.#maxInFlight = setup.options.maxInFlight;
    this.#suspects = setup.suspects ?? new Set();
    const { killSwitch } = setup.options;
    if (killSwitch !== false) this.#switch = this.#makeSwitch(killSwitch);
  }

  /** From now on; what runs beyond a smaller limit is finished. */
  set maxInFlight(maxInFlight: number) {
    this.#maxInFlight = maxInFlight;
    if (!this.#stopping) this.#pump();
  }

  get #stopping(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Handlers running. */
  get inFlight(): number {
    return this.#running;
  }

  /** Why it takes no messages, if its handler fails on everything. */
  get pause(): ConsumerPause | undefined {
    return this.#switch?.pause;
  }

  /** While paused: tries a message now. */
  probeNow(): void {
    this.#switch?.probeNow();
  }

  /** While paused: goes on with all messages, without a probe. */
  resume(): void {
    this.#switch?.resume();
  }

  /** Messages that are past their attempts and whose dead letters could not be written. */
  get unwrittenDeadLetters(): number {
    const since = this.#setup.clock.monotonicMs() - UNWRITTEN_FOR_MS;
    for (const [sequence, at] of this.#unwritten) if (at < since) this.#unwritten.delete(sequence);
    return this.#unwritten.size;
  }

  receive(raw: RawDelivery): void {
    const { metrics, consumer } = this.#setup;
    if (raw.attempt > 1) metrics.redelivered(consumer);
    const before = this.#held.get(raw.sequence);
    if (before !== undefined) {
      // The broker lost patience while it is here: settle the newest delivery, do not run it twice.
      before.replaceRaw(raw);
      return;
    }
    if (this.#stopping) {
      this.#giveBack(raw);
      return;
    }
    if (this.#switch?.paused === true && !this.#switch.admits(raw.sequence, raw.pending)) {
      this.#release(raw);
      return;
    }
    const suspect = raw.attempt > 1 && this.#isSuspect(raw);
    if (suspect && this.#comesApart(raw)) return;
    const held = new HeldDelivery(raw, this.#setup.clock);
    if (suspect) this.#suspects.add(held);
    this.#held.set(raw.sequence, held);
    this.#enqueue(held);
  }

  /** Tells the broker that everything held for longer than `everyMs` without a word is still worked on. */
  heartbeat(everyMs: number): void {
    const now = this.#setup.clock.monotonicMs();
    for (const held of this.#held.values()) {
      if (now - held.heardAtMs < everyMs || held.stalled) continue;
      if (held.startedAtMs !== undefined && now - held.startedAtMs > this.#setup.options.stalledAfterMs) {
        held.stalled = true;
        this.#setup.metrics.stalled(this.#setup.consumer);
        this.#setup.log.error(
          { ...this.#facts(held), runsForMs: Math.round(now - held.startedAtMs) },
          'A handler is stuck: the message will be delivered again elsewhere',
        );
        continue;
      }
      held.working();
    }
  }

  /**
   * Starts nothing more, gives back what has not started, waits up to `drainMs` for the handlers that run and gives
   * their messages back after that.
   */
  async stop(drainMs: number): Promise<void> {
    this.#stop.abort();
    this.#switch?.stop();
    for (const held of this.#held.values()) {
      if (held.startedAtMs !== undefined) continue;
      this.#held.delete(held.sequence);
      this.#suspects.delete(held);
      this.#endWait(held);
      this.#giveBack(held.raw);
    }
    this.#ready = [];
    this.#readyFrom = 0;
    this.#byKey.clear();
    if (this.#running > 0) {
      const patience = new AbortController();
      const idle = new Promise<void>((resolve) => (this.#idle = resolve));
      await Promise.race([idle, this.#setup.clock.sleep(drainMs, patience.signal)]);
      patience.abort();
    }
    for (const held of this.#held.values()) {
      held.abandoned = true;
      this.#suspects.delete(held);
      this.#setup.log.warn(
        this.#facts(held),
        'Stopped while a handler runs: its message is given back, what it still does will be recognised as done',
      );
      this.#giveBack(held.raw);
    }
    this.#held.clear();
  }

  #enqueue(held: HeldDelivery): void {
    const queue = this.#byKey.get(held.key);
    if (queue !== undefined) {
      queue.push(held);
      return;
    }
    this.#byKey.set(held.key, []);
    this.#ready.push(held);
    this.#pump();
  }

  #pump(): void {
    while (this.#running < this.#maxInFlight && this.#readyFrom < this.#ready.length) {
      const next = this.#ready[this.#readyFrom++] as HeldDelivery;
      if (this.#readyFrom > 64 && this.#readyFrom * 2 > this.#ready.length) {
        this.#ready.splice(0, this.#readyFrom);
        this.#readyFrom = 0;
      }
      this.#running++;
      next.startedAtMs = this.#setup.clock.monotonicMs();
      void this.#run(next);
    }
  }

  async #run(held: HeldDelivery): Promise<void> {
    const { options, consumer } = this.#setup;
    try {
      if (held.failure !== undefined) {
        await this.#bury(held, held.failure);
      } else if (this.#attemptOf(held) > options.maxAttempts) {
        const known = this.#failures.get(held.sequence)?.last;
        await this.#bury(
          held,
          known ?? new DeliveryCountExceededError(held.raw.attempt, options.maxAttempts),
        );
      } else if (isForOther(held.raw.headers, consumer)) {
        this.#settle(held, () => held.raw.ack());
      } else {
        await this.#handle(held);
        this.#switch?.succeeded();
        this.#failures.delete(held.sequence);
        if (this.#forgiven.size > 0) this.#forgiven.delete(held.sequence);
        this.#settle(held, () => held.raw.ack());
      }
    } catch (error) {
      await this.#failed(held, error);
    } finally {
      this.#finished(held);
    }
  }

  /** Runs the handler; while what it needs is away, again and again. Throws what the message itself is to blame for. */
  async #handle(held: HeldDelivery): Promise<void> {
    const { options, handler, consumer, clock, metrics, log } = this.#setup;
    for (let pauses = 1; ; pauses++) {
      try {
        await handler(held);
        return;
      } catch (error) {
        if (!options.isOutage(error) || this.#stopping || held.abandoned) throw error;
        const pauseMs = backoffDelayMs(pauses, OUTAGE_PAUSE);
        metrics.retried(consumer, errorCode(error));
        log.warn(
          { ...this.#facts(held), errorCode: errorCode(error), error: errorMessage(error), pauseMs },
          'What a handler needs is away: its message is held until that is back',
        );
        await clock.sleep(pauseMs, this.#stop.signal);
        // It is not stuck: it waits.
        held.startedAtMs = clock.monotonicMs();
        if (this.#stopping) throw error;
      }
    }
  }

  async #failed(held: HeldDelivery, error: unknown): Promise<void> {
    if (held.abandoned) return;
    const { options, consumer, metrics, log } = this.#setup;
    if (options.isOutage(error)) {
      this.#settle(held, () => held.raw.nak(GIVE_BACK_MS));
      return;
    }
    this.#remember(held, error);
    // The handler is in order, and the message too: neither its attempts nor the kill switch count it.
    if (saysNotYet(error)) return this.#notYet(held, error);
    const holdMs = this.#switch?.failed(held.sequence, error);
    if (holdMs !== undefined) {
      this.#forgive(held.sequence);
      metrics.retried(consumer, errorCode(error));
      this.#settle(held, () => held.raw.nak(holdMs));
      return;
    }
    const settlement = settlementOf(error, this.#attemptOf(held), options);
    if (settlement.kind === 'dead-letter') {
      await this.#bury(held, error);
      return;
    }
    const { delayMs } = settlement;
    metrics.retried(consumer, errorCode(error));
    log.warn(
      { ...this.#facts(held), errorCode: errorCode(error), error: errorMessage(error), delayMs },
      'A handler failed: the message will be delivered again',
    );
    this.#settle(held, () => held.raw.nak(delayMs));
  }

  /**
   * What the message depends on may be with a process that was killed, and comes again after the ack wait: far later
   * than the attempts of a failing message last. So it waits here, without its place among those that run, and is tried
   * now and then; where too many wait already, it comes again from the broker. After three ack waits it is a dead letter.
   */
  async #notYet(held: HeldDelivery, error: unknown): Promise<void> {
    const { options, consumer, metrics, log, clock } = this.#setup;
    const ackWaitMs = this.#setup.ackWaitMs();
    const now = clock.monotonicMs();
    const failures = this.#failures.get(held.sequence);
    const sinceMs = (failures && (failures.waitsSinceMs ??= now)) ?? now;
    if (now - sinceMs >= patienceMs(ackWaitMs)) return this.#bury(held, error);
    const delayMs = waitingDelayMs(++held.waits, ackWaitMs, options.backoff);
    metrics.retried(consumer, errorCode(error));
    if (held.waits === 1) {
      log.warn(
        { ...this.#facts(held), errorCode: errorCode(error), error: errorMessage(error) },
        'What a message depends on has not arrived: it waits for that',
      );
    }
    if (this.#waiting >= this.#maxInFlight || this.#stopping || this.#switch?.paused === true) {
      this.#forgive(held.sequence);
      this.#settle(held, () => held.raw.nak(Math.round(ackWaitMs / 3)));
      return;
    }
    this.#waiting++;
    held.startedAtMs = undefined;
    held.wait = clock.after(delayMs, () => {
      this.#endWait(held);
      this.#enqueue(held);
    });
  }

  #endWait(held: HeldDelivery): void {
    if (held.wait === undefined) return;
    held.wait.cancel();
    held.wait = undefined;
    this.#waiting--;
  }

  /** Dead letter first, settled after that: a failure in between delivers the message again, it is never lost. */
  async #bury(held: HeldDelivery, error: unknown): Promise<void> {
    if (held.abandoned) return;
    const { options, consumer, publishDeadLetter, metrics, log, clock } = this.#setup;
    const code = errorCode(error);
    try {
      if (held.readable) await options.onDeadLetter?.(held, error);
      const history = this.#failures.get(held.sequence)?.records ?? [];
      await publishDeadLetter(
        deadLetterOf(
          { ...held.source, service: options.service, consumer },
          error,
          history,
          new Date(clock.now()),
        ),
      );
    } catch (failure) {
      metrics.deadLetterFailed(consumer);
      this.#noteUnwritten(held.sequence);
      // Kept for the next delivery, which exceeds the attempts and goes straight to the dead letters again.
      this.#remember(held, error, false);
      log.error(
        { ...this.#facts(held), errorCode: code, failure: errorMessage(failure) },
        'A dead letter could not be written: the message is given back',
      );
      const { initialMs, maxMs } = options.backoff;
      const delayMs = Math.max(1, Math.min(maxMs, initialMs * 2 ** Math.min(held.raw.attempt, 30)));
      this.#settle(held, () => held.raw.nak(delayMs));
      return;
    }
    this.#failures.delete(held.sequence);
    this.#unwritten.delete(held.sequence);
    this.#forgiven.delete(held.sequence);
    metrics.deadLettered(consumer, code);
    log.error(
      { ...this.#facts(held), errorCode: code, error: errorMessage(error) },
      'A message became a dead letter: see `fleet dlq list`',
    );
    this.#settle(held, () => held.raw.term(code));
  }

  #finished(held: HeldDelivery): void {
    this.#running--;
    if (this.#suspects.size > 0) this.#suspects.delete(held);
    if (held.wait === undefined && !held.abandoned && this.#held.delete(held.sequence)) held.raw.released();
    if (this.#switch?.paused === true) this.#switch.undecided(held.sequence);
    const queue = this.#byKey.get(held.key);
    const next = queue?.shift();
    if (next !== undefined) this.#ready.push(next);
    else this.#byKey.delete(held.key);
    if (this.#stopping) {
      if (this.#running === 0) this.#idle?.();
      return;
    }
    this.#pump();
  }

  #settle(held: HeldDelivery, action: () => void): void {
    if (held.abandoned) return;
    try {
      action();
    } catch (error) {
      // The connection is closed: the broker delivers it again, and it is recognised.
      this.#setup.log.warn(
        { ...this.#facts(held), error: errorMessage(error) },
        'A message could not be settled',
      );
    }
  }

  #giveBack(raw: RawDelivery, delayMs = GIVE_BACK_MS): void {
    try {
      raw.nak(delayMs);
    } catch (error) {
      this.#setup.log.warn(
        { consumer: this.#setup.consumer, sequence: raw.sequence, error: errorMessage(error) },
        'A message could not be given back: it comes again when the broker loses patience',
      );
    }
    raw.released();
  }

  #makeSwitch(options: KillSwitchOptions): KillSwitch {
    const { consumer, clock, metrics, log, onPermit } = this.#setup;
    return new KillSwitch({
      options,
      clock,
      permit: (messages) => onPermit?.(messages),
      onPaused: (pause, failures) => {
        metrics.paused(consumer, pause.errorCode);
        log.error(
          { consumer, failures, errorCode: pause.errorCode, error: pause.errorMessage },
          'A handler fails on everything: its consumer is paused, and tries one message now and then',
        );
        this.#releaseWaiting();
      },
      onResumed: (pause) => {
        metrics.resumed(consumer);
        log.warn(
          { consumer, pausedForMs: clock.now() - pause.since, probes: pause.probes },
          'A handler works again: its consumer goes on',
        );
      },
    });
  }

  /** Gives back everything that has not started; those of other processes may do better. */
  #releaseWaiting(): void {
    for (const held of this.#held.values()) {
      if (held.startedAtMs !== undefined) continue;
      this.#held.delete(held.sequence);
      this.#suspects.delete(held);
      this.#endWait(held);
      this.#release(held.raw);
    }
    for (const [key, waiting] of this.#byKey) {
      waiting.length = 0;
      // A key whose first message runs keeps its place.
      if (!this.#runsKey(key)) this.#byKey.delete(key);
    }
    this.#ready = [];
    this.#readyFrom = 0;
  }

  #runsKey(key: string): boolean {
    for (const held of this.#held.values()) if (held.key === key) return true;
    return false;
  }

  /** Gives back what is not to be tried now, without counting it as an attempt. */
  #release(raw: RawDelivery): void {
    this.#forgive(raw.sequence);
    this.#giveBack(raw, this.#switch?.releaseMs);
  }

  #forgive(sequence: number): void {
    const before = this.#forgiven.get(sequence) ?? 0;
    this.#forgiven.delete(sequence);
    this.#forgiven.set(sequence, before + 1);
    if (this.#forgiven.size <= MAX_FORGIVEN) return;
    const oldest = this.#forgiven.keys().next();
    if (!oldest.done) this.#forgiven.delete(oldest.value);
  }

  /**
   * Whether a message may be what ended the processes that had it: it was delivered again and again, and no failure of
   * it is known. Once is no sign: any restart does that. The last attempt is made in any case.
   */
  #isSuspect(raw: RawDelivery): boolean {
    const { maxAttempts } = this.#setup.options;
    const attempt = raw.attempt - (this.#forgiven.get(raw.sequence) ?? 0);
    return (
      attempt > Math.max(2, maxAttempts / 2) && attempt < maxAttempts && !this.#failures.has(raw.sequence)
    );
  }

  /**
   * Has a suspect come at another time: those that are innocent were only beside it each time, and would become dead
   * letters with it. Always at first, because a process that starts gets all of them at once; then while another is here.
   */
  #comesApart(raw: RawDelivery): boolean {
    const before = this.#forgiven.get(raw.sequence) ?? 0;
    if (before > 0 && (this.#suspects.size === 0 || before >= MAX_SCATTERS)) return false;
    if (before === 0) {
      this.#setup.log.info(
        { consumer: this.#setup.consumer, sequence: raw.sequence, attempt: raw.attempt },
        'A message that was in several processes which ended comes again apart from others of that kind',
      );
    }
    this.#forgive(raw.sequence);
    this.#giveBack(raw, Math.max(GIVE_BACK_MS, Math.round(Math.random() * SCATTER_MS)));
    return true;
  }

  /** Which attempt this delivery is, without those that were given back. */
  #attemptOf({ raw }: HeldDelivery): number {
    if (this.#forgiven.size === 0) return raw.attempt;
    return raw.attempt - (this.#forgiven.get(raw.sequence) ?? 0);
  }

  #noteUnwritten(sequence: number): void {
    this.#unwritten.delete(sequence);
    this.#unwritten.set(sequence, this.#setup.clock.monotonicMs());
    if (this.#unwritten.size <= MAX_REMEMBERED_FAILURES) return;
    const oldest = this.#unwritten.keys().next();
    if (!oldest.done) this.#unwritten.delete(oldest.value);
  }

  #remember(held: HeldDelivery, error: unknown, record = true): void {
    const before = this.#failures.get(held.sequence);
    const records = before?.records ?? [];
    if (record) {
      records.push(attemptRecord(held.raw.attempt, error, new Date(this.#setup.clock.now())));
      if (records.length > MAX_HISTORY) records.shift();
    }
    // Re-inserted, so that the oldest entry is the one that is dropped.
    this.#failures.delete(held.sequence);
    const waitsSinceMs = before?.waitsSinceMs;
    this.#failures.set(held.sequence, { records, last: error, waitsSinceMs });
    if (this.#failures.size > MAX_REMEMBERED_FAILURES) {
      const oldest = this.#failures.keys().next();
      if (!oldest.done) this.#failures.delete(oldest.value);
    }
  }

  #facts(held: HeldDelivery): object {
    const { stream, sequence, attempt, subject, headers } = held.raw;
    return {
      consumer: this.#setup.consumer,
      stream,
      sequence,
      attempt,
      subject,
      messageId: headers['ce-id'],
      type: headers['ce-type'],
      correlationId: headers['ce-correlationid'],
    };
  }
}

interface Failures {
  readonly records: AttemptRecord[];
  readonly last: unknown;
  /** When its handler first said `not-yet`. */
  waitsSinceMs: number | undefined;
}

class HeldDelivery implements Delivery {
  raw: RawDelivery;
  readonly sequence: number;
  readonly key: string;
  /** Why the message cannot be given to a handler. */
  readonly failure: unknown;
  heardAtMs: number;
  startedAtMs: number | undefined;
  stalled = false;
  abandoned = false;
  /** Until it is tried again, without having been given back. */
  wait: TimerHandle | undefined;
  /** How often its handler said `not-yet`. */
  waits = 0;
  readonly #message: IncomingMessage | undefined;
  readonly #clock: Clock;

  constructor(raw: RawDelivery, clock: Clock) {
    this.raw = raw;
    this.#clock = clock;
    this.sequence = raw.sequence;
    this.heardAtMs = clock.monotonicMs();
    try {
      this.#message = decodeMessage(raw.subject, raw.headers, raw.body);
      this.key = this.#message.envelope.subject;
    } catch (error) {
      this.failure = error;
      this.key = `\0${raw.sequence}`;
    }
  }

  get readable(): boolean {
    return this.#message !== undefined;
  }

  get message(): IncomingMessage {
    if (this.#message === undefined) throw this.failure;
    return this.#message;
  }

  get attempt(): number {
    return this.raw.attempt;
  }

  get stream(): string {
    return this.raw.stream;
  }

  get pending(): number {
    return this.raw.pending;
  }

  get source(): Omit<RawDelivery, 'ack' | 'nak' | 'term' | 'working' | 'released'> {
    const { subject, headers, body, attempt, stream, sequence, pending } = this.raw;
    return { subject, headers, body, attempt, stream, sequence, pending };
  }

  working(): void {
    this.heardAtMs = this.#clock.monotonicMs();
    this.raw.working();
  }

  replaceRaw(raw: RawDelivery): void {
    this.raw.released();
    this.raw = raw;
    this.heardAtMs = this.#clock.monotonicMs();
  }
}

function isForOther(headers: Readonly<Record<string, string>>, consumer: string): boolean {
  const target = headers[replayHeader.replayFor];
  return target !== undefined && target !== consumer;
}
