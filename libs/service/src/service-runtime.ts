import {
  patternRequestSubject,
  patternRoute,
  rpcSubject,
  type ServiceManifest,
} from '@flotilla/contracts-protocol';
import type { Clock } from '@flotilla/kernel';
import type { Broker, Stoppable } from '@flotilla/messaging';
import { Logger } from '@nestjs/common';
import type { DurableConsumers } from './inbound/durable-consumers.ts';
import type { RequestServer } from './inbound/request-server.ts';
import type { Jobs } from './jobs.ts';
import type { SagaHost } from './sagas/saga-host.ts';
import type { ScheduleHost } from './schedules/schedule-host.ts';

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
  readonly schedules: ScheduleHost;
  readonly limits: RuntimeLimits;
  /** Waits until everything committed is published; false if `withinMs` was not enough. */
  readonly flush: (withinMs: number) => Promise<boolean>;
}

/** How much is handled at a time; changes while the service runs. */
export interface RuntimeLimits {
  readonly maxInFlight: number;
  /** Returns the function that ends it. */
  onChange(listener: (maxInFlight: number) => void): () => void;
}

/** Starts and stops everything in a service that takes work, in the right order. */
export class ServiceRuntime {
  readonly #parts: ServiceRuntimeParts;
  readonly #logger = new Logger(ServiceRuntime.name);
  #inbound: Stoppable[] = [];
  #started = false;
  #unlisten: (() => void) | undefined;

  constructor(parts: ServiceRuntimeParts) {
    this.#parts = parts;
  }

  /** Whether everything that takes work runs. */
  get started(): boolean {
    return this.#started;
  }

  /** `startControllers` starts what is handled by Nest's own controllers, if there is any. */
  async start(startControllers: () => Promise<readonly Stoppable[]> = async () => []): Promise<void> {
    const { manifest, version, broker, requests, consumers, sagas, operators, jobs, schedules, limits } =
      this.#parts;
    // Answering comes first: what the consumers cause may ask this very service.
    const servings = await requests.start(manifest.answers);
    this.#inbound.push(...servings);
    for (const each of operators) this.#inbound.push(await each.start());
    const consumptions = (await consumers?.start()) ?? [];
    this.#inbound.push(...consumptions);
    const limit = (maxInFlight: number): void => {
      for (const each of [...servings, ...consumptions]) each.setMaxInFlight(maxInFlight);
    };
    this.#unlisten = limits.onChange(limit);
    // It may have changed since they were started.
    limit(limits.maxInFlight);
    this.#inbound.push(...(await startControllers()));
    sagas?.start(() => broker.health().jetstream && consumers?.repliesBehind !== true);
    const scheduling = await schedules.start();
    if (scheduling) this.#inbound.push(scheduling);
    jobs.start();
    this.#inbound.push(
      await broker.announce({
        name: manifest.name,
        version,
        description: `Flotilla service ${manifest.name}`,
        endpoints: [
          ...manifest.answers.map(({ contract }) => rpcSubject(contract)),
          ...manifest.patterns.answers.map((pattern) => patternRequestSubject(patternRoute(pattern))),
        ],
      }),
    );
    this.#started = true;
  }

  /**
   * Takes nothing new, finishes what is in flight, gives the rest back, empties the outbox; `leftMs` says how much time
   * there still is. Everything is stopped even when part of it fails; then it throws.
   */
  async stop(leftMs: () => number): Promise<void> {
    const { sagas, jobs, schedules, flush } = this.#parts;
    this.#started = false;
    this.#unlisten?.();
    schedules.stop();
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
