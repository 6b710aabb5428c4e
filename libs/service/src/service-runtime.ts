import { rpcSubject, type ServiceManifest } from '@flotilla/contracts-protocol';
import type { Clock } from '@flotilla/kernel';
import type { Broker, Stoppable } from '@flotilla/messaging';
import { Logger } from '@nestjs/common';
import type { DurableConsumers } from './inbound/durable-consumers.ts';
import type { RequestServer } from './inbound/request-server.ts';
import type { Jobs } from './jobs.ts';
import type { SagaHost } from './sagas/saga-host.ts';

export interface ServiceRuntimeParts {
  readonly manifest: ServiceManifest;
  readonly version: string;
  readonly broker: Broker;
  readonly clock: Clock;
  readonly requests: RequestServer;
  /** Absent for a service without a database: it has nothing in which to remember what it handled. */
  readonly consumers: DurableConsumers | undefined;
  readonly sagas: SagaHost | undefined;
  /** What answers operators, and services that build something again. */
  readonly operators: readonly { start(): Promise<Stoppable> }[];
  readonly jobs: Jobs;
  /** Waits until everything committed is published; false if `withinMs` was not enough. */
  readonly flush: (withinMs: number) => Promise<boolean>;
}

/** Starts and stops everything in a service that takes work, in the right order. */
export class ServiceRuntime {
  readonly #parts: ServiceRuntimeParts;
  readonly #logger = new Logger(ServiceRuntime.name);
  #inbound: Stoppable[] = [];
  #started = false;

  constructor(parts: ServiceRuntimeParts) {
    this.#parts = parts;
  }

  /** Whether everything that takes work runs. */
  get started(): boolean {
    return this.#started;
  }

  async start(): Promise<void> {
    const { manifest, version, broker, requests, consumers, sagas, operators, jobs } = this.#parts;
    // Answering comes first: what the consumers cause may ask this very service.
    this.#inbound.push(...(await requests.start(manifest.answers)));
    for (const each of operators) this.#inbound.push(await each.start());
    if (consumers) this.#inbound.push(...(await consumers.start()));
    sagas?.start(() => broker.health().jetstream && consumers?.repliesBehind !== true);
    jobs.start();
    this.#inbound.push(
      await broker.announce({
        name: manifest.name,
        version,
        description: `Flotilla service ${manifest.name}`,
        endpoints: manifest.answers.map(({ contract }) => rpcSubject(contract)),
      }),
    );
    this.#started = true;
  }

  /**
   * Takes nothing new, finishes what is in flight, gives the rest back, empties the outbox; `leftMs` says how much time
   * there still is. Everything is stopped even when part of it fails; then it throws.
   */
  async stop(leftMs: () => number): Promise<void> {
    const { sagas, jobs, flush } = this.#parts;
    this.#started = false;
    const drainMs = leftMs();
    const results = await Promise.allSettled([
      ...this.#inbound.splice(0).map((inbound) => inbound.stop({ drainMs })),
      this.#within(drainMs, 'The timers of sagas', sagas?.stop()),
      this.#within(drainMs, 'Background jobs', jobs.stop()),
    ]);
    if (!(await flush(leftMs()))) {
      this.#logger.warn(
        'Not everything could be published before the end: a relay does it, here or in another replica',
      );
    }
    const failed = results.find((result) => result.status === 'rejected');
    if (failed) throw failed.reason;
  }

  async #within(ms: number, what: string, ending: Promise<void> | undefined): Promise<void> {
    if (!ending) return;
    const patience = new AbortController();
    const late = this.#parts.clock.sleep(ms, patience.signal).then(() => 'late' as const);
    const first = await Promise.race([ending, late]).finally(() => patience.abort());
    if (first === 'late') this.#logger.warn(`${what} still run after ${ms} ms: they are cut off`);
  }
}
