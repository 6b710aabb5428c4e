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
import type { Suspect, TrialRecord, Trials } from './trials.ts';

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
  /** Where messages that may end their process are tried alone; one for all runners of the process. */
  readonly trials: Trials;
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
  /** Deliveries that are no attempts, by stream sequence: given back while paused, or before a trial and not to blame. */
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
    const held = new HeldDelivery(raw, this.#setup.clock);
    held.suspect = raw.attempt > 1 && held.readable && this.#isSuspect(raw);
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
        this.#setup.trials.leave(held);
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
      this.#setup.trials.leave(held);
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
    const acquitted: Promise<void>[] = [];
    for (const held of this.#held.values()) {
      held.abandoned = true;
      this.#setup.trials.leave(held);
      this.#setup.log.warn(
        this.#facts(held),
        'Stopped while a handler runs: its message is given back, what it still does will be recognised as done',
      );
      // It is not the message that ends this process.
      if (held.trial && !held.stalled) acquitted.push(this.#record(held, { ...held.trial, unended: 0 }));
      this.#giveBack(held.raw);
    }
    this.#held.clear();
    await Promise.all(acquitted);
  }

  #enqueue(held: HeldDelivery): void {
    const queue = this.#byKey.get(held.key);
    if (queue !== undefined) {
      queue.push(held);
      return;
    }
    this.#byKey.set(held.key, []);
    this.#makeReady(held);
  }

  #makeReady(held: HeldDelivery): void {
    const toReady = (): void => {
      this.#ready.push(held);
      this.#pump();
    };
    if (held.suspect) this.#setup.trials.enter(held, toReady);
    else toReady();
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
      const known = this.#failures.get(held.sequence)?.last;
      if (held.failure !== undefined) {
        await this.#bury(held, held.failure);
      } else if (isForOther(held.raw.headers, consumer)) {
        this.#settle(held, () => held.raw.ack());
      } else if (known !== undefined && !saysNotYet(known) && this.#attemptOf(held) > options.maxAttempts) {
        await this.#bury(held, known);
      } else if (await (held.suspect ? this.#try(held) : this.#handle(held))) {
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

  /**
   * Runs the handler while no other suspect of this process runs, once. That it is about to is written down first: a trial
   * that has no end is how the next process knows that this message ends them. False: it is settled already.
   */
  async #try(held: HeldDelivery): Promise<boolean> {
    const { trials, handler, clock, log, options } = this.#setup;
    const suspect = this.#suspectOf(held);
    let before: TrialRecord;
    try {
      before = await trials.recordOf(suspect);
      if (before.unended < trialsOf(options.maxAttempts)) {
        held.trial = before;
        await trials.record(suspect, { ...before, unended: before.unended + 1 });
      }
    } catch (error) {
      log.warn(
        { ...this.#facts(held), error: errorMessage(error) },
        'A message that is to be tried alone is given back: the trial cannot be written down',
      );
      // It may have been stored all the same, and the message is not tried.
      if (held.trial !== undefined) await this.#record(held, held.trial);
      held.trial = undefined;
      this.#settle(held, () => held.raw.nak(OUTAGE_PAUSE.maxMs));
      return false;
    }
    if (before.unended >= trialsOf(options.maxAttempts)) {
      await this.#bury(held, new DeliveryCountExceededError(held.raw.attempt, before.unended));
      return false;
    }
    if (held.abandoned) return false;
    log.info(
      { ...this.#facts(held), trialsWithoutEnd: before.unended },
      'A message that came again and again without an error is tried alone',
    );
    // The deliveries before were not its failures, as far as anybody knows.
    this.#forgive(held.sequence, held.raw.attempt - (unsuspectedOf(options.maxAttempts) + before.failed + 1));
    held.startedAtMs = clock.monotonicMs();
    let failed = before.failed;
    try {
      await handler(held);
    } catch (error) {
      if (!options.isOutage(error) && !saysNotYet(error)) failed++;
      throw error;
    } finally {
      held.suspect = false;
      held.trial = undefined;
      // One that was stuck for so long is with another process by now, and that has written its own.
      if (!held.stalled && !held.abandoned) await this.#record(held, { unended: 0, failed });
      trials.leave(held);
    }
    return true;
  }

  /** What is known of a suspect whose trial is over. If it cannot be written, one trial more seems to have had no end. */
  async #record(held: HeldDelivery, record: TrialRecord): Promise<void> {
    try {
      await this.#setup.trials.record(this.#suspectOf(held), record);
    } catch (error) {
      this.#setup.log.warn(
        { ...this.#facts(held), error: errorMessage(error) },
        'The end of a trial could not be written down',
      );
    }
  }

  #suspectOf({ message }: HeldDelivery): Suspect {
    return { consumer: this.#setup.consumer, messageId: message.envelope.id };
  }

  /** Runs the handler; while what it needs is away, again and again. Throws what the message itself is to blame for. */
  async #handle(held: HeldDelivery): Promise<true> {
    const { options, handler, consumer, clock, metrics, log } = this.#setup;
    for (let pauses = 1; ; pauses++) {
      try {
        await handler(held);
        return true;
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
      this.#settle(held, () => held.raw.nak(this.#stopping ? GIVE_BACK_MS : OUTAGE_PAUSE.maxMs));
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
    this.#setup.trials.leave(held);
    if (held.wait === undefined && !held.abandoned && this.#held.delete(held.sequence)) held.raw.released();
    if (this.#switch?.paused === true) this.#switch.undecided(held.sequence);
    const queue = this.#byKey.get(held.key);
    const next = queue?.shift();
    if (next === undefined) this.#byKey.delete(held.key);
    if (this.#stopping) {
      if (this.#running === 0) this.#idle?.();
      return;
    }
    if (next === undefined) this.#pump();
    else this.#makeReady(next);
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
      this.#setup.trials.leave(held);
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

  /** One delivery more, or so many in all. */
  #forgive(sequence: number, deliveries = (this.#forgiven.get(sequence) ?? 0) + 1): void {
    this.#forgiven.delete(sequence);
    this.#forgiven.set(sequence, deliveries);
    if (this.#forgiven.size <= MAX_FORGIVEN) return;
    const oldest = this.#forgiven.keys().next();
    if (!oldest.done) this.#forgiven.delete(oldest.value);
  }

  /**
   * Whether a message may be what ended the processes that had it: it was delivered again and again, and no failure of
   * it is known. Once is no sign: any restart does that.
   */
  #isSuspect(raw: RawDelivery): boolean {
    const attempt = raw.attempt - (this.#forgiven.get(raw.sequence) ?? 0);
    return attempt > unsuspectedOf(this.#setup.options.maxAttempts) && !this.#failures.has(raw.sequence);
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
  /** It came again and again, and nobody knows of an error. */
  suspect = false;
  /** While it is tried alone: what was known of it before. */
  trial: TrialRecord | undefined;
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

/** Deliveries without a known error that are no sign yet; the other attempts are trials. */
function unsuspectedOf(maxAttempts: number): number {
  return Math.max(2, Math.floor(maxAttempts / 2));
}

/** Trials in a row without an end that a message may have: with those before them as many deliveries as attempts. */
function trialsOf(maxAttempts: number): number {
  return Math.max(1, maxAttempts - unsuspectedOf(maxAttempts));
}

function isForOther(headers: Readonly<Record<string, string>>, consumer: string): boolean {
  const target = headers[replayHeader.replayFor];
  return target !== undefined && target !== consumer;
}
