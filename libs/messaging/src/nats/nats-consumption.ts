import type { Msg } from '@nats-io/nats-core';
import type { Consumption, ConsumptionState, StopOptions } from '../broker.ts';
import type { DeliveryRunner } from '../delivery-runner.ts';
import type { DeliveryFacts } from './ack-subject.ts';
import { NatsDelivery } from './nats-delivery.ts';
import { pauseLine } from '../kill-switch.ts';
import type { PullLoop } from './pull-loop.ts';
import type { QueueTrimmer } from './queue-trimmer.ts';
import type { StuckDetector } from './stuck-detector.ts';

/** As many again as run wait here, so that no handler waits for the network. */
export function bufferSizeFor(maxInFlight: number): number {
  return Math.max(2, maxInFlight * 2);
}

/** What a consumption is told to keep an eye on. */
export interface ConsumptionWatch {
  /** Called now and then with how many messages wait, and how many dead letters could not be written. */
  readonly onSweep: (pending: number, unwrittenDeadLetters: number) => void;
  readonly onStopped: (consumption: NatsConsumption) => void;
  readonly makeDetector: (loops: readonly PullLoop[]) => StuckDetector;
}

type MakeLoop = (receive: (message: Msg, facts: DeliveryFacts) => void) => PullLoop;

/** One runner fed by one pull loop, or by one for each partition. */
export class NatsConsumption implements Consumption {
  readonly #runner: DeliveryRunner;
  readonly #consumer: string;
  readonly #loops: readonly PullLoop[];
  readonly #watch: ConsumptionWatch;
  readonly #detector: StuckDetector;
  #trimmer: QueueTrimmer | undefined;
  #stopped: Promise<void> | undefined;

  constructor(
    consumer: string,
    runner: DeliveryRunner,
    makers: readonly MakeLoop[],
    watch: ConsumptionWatch,
  ) {
    this.#consumer = consumer;
    this.#runner = runner;
    this.#watch = watch;
    this.#loops = makers.map((make) => {
      const loop: PullLoop = make((message, facts) =>
        runner.receive(new NatsDelivery(message, facts, () => loop.released())),
      );
      return loop;
    });
    this.#detector = watch.makeDetector(this.#loops);
  }

  /** Opens all consumers, or none. */
  async start(makeTrimmer: () => Promise<QueueTrimmer | undefined>): Promise<void> {
    const results = await Promise.allSettled(this.#loops.map((loop) => loop.start()));
    const failed = results.find((result) => result.status === 'rejected');
    if (failed === undefined) {
      this.#trimmer = await makeTrimmer();
      return;
    }
    await this.stop({ drainMs: 0 });
    throw failed.reason;
  }

  state(): ConsumptionState {
    const detail = this.problems().join('; ');
    const { pause } = this.#runner;
    const { reason } = this.#detector;
    return {
      status: this.#stopped !== undefined ? 'stopped' : detail === '' ? 'running' : 'healing',
      ...(detail !== '' && { detail }),
      inFlight: this.#runner.inFlight,
      pending: this.pending,
      unwrittenDeadLetters: this.#runner.unwrittenDeadLetters,
      ...(pause !== undefined && { paused: pause }),
      ...(reason !== undefined && { stuck: reason }),
    };
  }

  probeNow(): void {
    this.#runner.probeNow();
  }

  resume(): void {
    this.#runner.resume();
  }

  /** How many messages may be asked for: see `DeliveryRunnerOptions.onPermit`. */
  set permit(messages: 0 | 1 | undefined) {
    for (const loop of this.#loops) loop.permit = messages;
  }

  /** What does not keep it from working, and wants to be looked at. */
  degraded(): string[] {
    const { pause, unwrittenDeadLetters } = this.#runner;
    return [
      ...(pause === undefined ? [] : [pauseLine(this.#consumer, pause)]),
      ...(this.#detector.line === undefined ? [] : [this.#detector.line]),
      ...(unwrittenDeadLetters === 0
        ? []
        : [
            `consumer ${this.#consumer} cannot write ${unwrittenDeadLetters} dead letter(s): is the stream DLQ full? ` +
              'The messages are kept and tried again',
          ]),
    ];
  }

  setMaxInFlight(maxInFlight: number): void {
    this.#runner.maxInFlight = maxInFlight;
    for (const loop of this.#loops) loop.bufferSize = bufferSizeFor(maxInFlight);
  }

  problems(): string[] {
    return this.#loops.flatMap((loop) => (loop.status === 'healing' ? [loop.detail ?? 'healing'] : []));
  }

  get pending(): number {
    return this.#loops.reduce((sum, loop) => sum + loop.pending, 0);
  }

  /** How long the server waits for word of a message. */
  get ackWaitMs(): number {
    return Math.min(...this.#loops.map((loop) => loop.ackWaitMs));
  }

  /** How often the server must hear of what is in flight. */
  get heartbeatMs(): number {
    return this.ackWaitMs / 3;
  }

  sweep(): void {
    this.#watch.onSweep(this.pending, this.#runner.unwrittenDeadLetters);
    for (const loop of this.#loops) loop.sweep();
    this.#runner.heartbeat(this.heartbeatMs);
    this.#detector.sweep();
    if (this.problems().length === 0) this.#trimmer?.sweep();
  }

  disconnected(): void {
    for (const loop of this.#loops) loop.disconnected();
  }

  reconnected(): void {
    for (const loop of this.#loops) loop.reconnected();
  }

  stop(options: StopOptions = {}): Promise<void> {
    this.#stopped ??= this.#stop(options.drainMs ?? 10_000);
    return this.#stopped;
  }

  async #stop(drainMs: number): Promise<void> {
    this.#trimmer?.stop();
    // The runner first: it gives back what still arrives while the subscriptions end.
    const drained = this.#runner.stop(drainMs);
    await Promise.all(this.#loops.map((loop) => loop.stop()));
    await drained;
    this.#watch.onStopped(this);
  }
}
