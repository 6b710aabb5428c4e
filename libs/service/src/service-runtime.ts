import type { ServiceManifest } from '@flotilla/contracts-protocol';
import { rpcSubject } from '@flotilla/contracts-protocol';
import type { Broker, Stoppable } from '@flotilla/messaging';
import type { DurableConsumers } from './inbound/durable-consumers.ts';
import type { RequestServer } from './inbound/request-server.ts';
import type { Jobs } from './jobs.ts';
import type { OperatorCommands } from './operator-commands.ts';
import type { SagaHost } from './sagas/saga-host.ts';

export interface ServiceRuntimeParts {
  readonly manifest: ServiceManifest;
  readonly broker: Broker;
  readonly requests: RequestServer;
  /** Absent for a service without a database: it has nothing in which to remember what it handled. */
  readonly consumers: DurableConsumers | undefined;
  readonly sagas: SagaHost | undefined;
  readonly operators: OperatorCommands | undefined;
  readonly jobs: Jobs;
  /** Waits, within the bound, until everything committed is published. */
  readonly flush: (withinMs: number) => Promise<void>;
}

/** Starts and stops everything in a service that takes work, in the right order. */
export class ServiceRuntime {
  readonly #parts: ServiceRuntimeParts;
  #inbound: Stoppable[] = [];

  constructor(parts: ServiceRuntimeParts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    const { manifest, broker, requests, consumers, sagas, operators, jobs } = this.#parts;
    // Answering comes first: what the consumers cause may ask this very service.
    this.#inbound.push(...(await requests.start(manifest.answers)));
    if (operators) this.#inbound.push(await operators.start());
    if (consumers) this.#inbound.push(...(await consumers.start()));
    sagas?.start();
    jobs.start();
    this.#inbound.push(
      await broker.announce({
        name: manifest.name,
        version: '0.1.0',
        description: `Flotilla service ${manifest.name}`,
        endpoints: manifest.answers.map(({ contract }) => rpcSubject(contract)),
      }),
    );
  }

  /** Takes nothing new, finishes what is in flight within `drainMs`, gives the rest back, empties the outbox. */
  async stop(drainMs: number): Promise<void> {
    const { sagas, jobs, flush } = this.#parts;
    await Promise.all([...this.#inbound.map((inbound) => inbound.stop({ drainMs })), sagas?.stop(), jobs.stop()]);
    this.#inbound = [];
    await flush(drainMs);
  }
}
