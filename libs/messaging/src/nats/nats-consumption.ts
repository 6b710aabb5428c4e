import type { Msg } from '@nats-io/nats-core';
import type { Consumption, ConsumptionState, StopOptions } from '../broker.ts';
import type { DeliveryRunner } from '../delivery-runner.ts';
import type { DeliveryFacts } from './ack-subject.ts';
import { NatsDelivery } from './nats-delivery.ts';
import type { PullLoop } from './pull-loop.ts';
import type { QueueTrimmer } from './queue-trimmer.ts';

/** As many again as run wait here, so that no handler waits for the network. */
export function bufferSizeFor(maxInFlight: number): number {
  return Math.max(2, maxInFlight * 2);
}

type MakeLoop = (receive: (message: Msg, facts: DeliveryFacts) => void) => PullLoop;

/** One runner fed by one pull loop, or by one for each partition. */
export class NatsConsumption implements Consumption {
  readonly #runner: DeliveryRunner;
  readonly #loops: readonly PullLoop[];
  readonly #onSweep: (pending: number) => void;
  readonly #onStopped: (consumption: NatsConsumption) => void;
  #trimmer: QueueTrimmer | undefined;
  #stopped: Promise<void> | undefined;

  constructor(
    runner: DeliveryRunner,
    makers: readonly MakeLoop[],
    onSweep: (pending: number) => void,
    onStopped: (stopped: NatsConsumption) => void,
  ) {
    this.#runner = runner;
    this.#onSweep = onSweep;
    this.#onStopped = onStopped;
    this.#loops = makers.map((make) => {
      const loop: PullLoop = make((message, facts) =>
        runner.receive(new NatsDelivery(message, facts, () => loop.released())),
      );
      return loop;
    });
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
    return {
      status: this.#stopped !== undefined ? 'stopped' : detail === '' ? 'running' : 'healing',
      ...(detail !== '' && { detail }),
      inFlight: this.#runner.inFlight,
      pending: this.pending,
    };
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

  /** How often the server must hear of what is in flight. */
  get heartbeatMs(): number {
    return Math.min(...this.#loops.map((loop) => loop.ackWaitMs)) / 3;
  }

  sweep(): void {
    this.#onSweep(this.pending);
    for (const loop of this.#loops) loop.sweep();
    this.#runner.heartbeat(this.heartbeatMs);
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
    this.#onStopped(this);
  }
}
