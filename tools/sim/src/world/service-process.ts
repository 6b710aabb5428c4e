import { errorMessage } from '@flotilla/kernel';
import type { Broker } from '@flotilla/messaging';
import type { SimulatedJetStream } from '@flotilla/messaging/simulation';
import { HealthRegistry } from '@flotilla/observability';
import { Outbox } from '@flotilla/persistence';
import { Jobs } from '@flotilla/service';
import { makeBareService, type BareService } from '@flotilla/service/testing';
import type { SimulatedProcess, Simulation } from '@flotilla/testing/simulation';
import type { InjectionToken } from '@nestjs/common';
import type { SimulatedService } from './services.ts';
import { noLogger, silentMetrics, tracingLog } from './silent.ts';

/** What a simulation puts in place of, or around, parts of a service. */
export interface Tampering {
  /** Replaces something for all processes; the answer undoes that. */
  readonly everywhere?: () => Promise<() => void>;
  /** The connection to the broker. */
  readonly broker?: (broker: Broker, process: SimulatedProcess) => Broker;
  /** Any other part, by its token. */
  readonly part?: (token: InjectionToken, part: unknown, service: string) => unknown;
  /** The whole service, before it starts to handle messages. */
  readonly service?: (service: BareService, name: string) => void;
}

export interface ServiceProcessParts {
  readonly service: SimulatedService;
  readonly process: SimulatedProcess;
  readonly simulation: Simulation;
  readonly jetstream: SimulatedJetStream;
  readonly env: Readonly<Record<string, string>>;
  readonly tampering: readonly Tampering[];
}

const RECONCILIATION = 'outbox-reconciliation';
const RECONCILE_EVERY_MS = 3_600_000;

/** Boots a service as `runService` does, in the process that this is called in. Resolves when it handles messages. */
export async function bootService(parts: ServiceProcessParts): Promise<BareService> {
  const { service, process, simulation, jetstream, env, tampering } = parts;
  const { name, module, spec, config: configClass } = service;
  const log = tracingLog((what) => simulation.trace.note(simulation.elapsedMs, process.name, what));
  const connection = jetstream.connect({ service: name, host: process, log });
  const broker = tampering.reduce<Broker>(
    (inner, each) => each.broker?.(inner, process) ?? inner,
    connection,
  );
  const bare = await makeBareService(
    {
      module,
      spec,
      config: configClass.fromEnvironment(env),
      configClass: configClass,
      broker,
      clock: simulation.clock,
      logger: noLogger,
      metrics: silentMetrics,
      health: new HealthRegistry(),
    },
    {
      wrap: (token, part) =>
        tampering.reduce((inner, each) => (each.part ? each.part(token, inner, name) : inner), part),
    },
  );
  for (const each of tampering) each.service?.(bare, name);
  reconcileAsServicesDo(bare, jetstream, process);
  await bare.start();
  return bare;
}

/** As `OutboxReconciliation`, which asks a connection of NATS: at the start, after a reconnection, and every hour. */
function reconcileAsServicesDo(
  bare: BareService,
  jetstream: SimulatedJetStream,
  process: SimulatedProcess,
): void {
  const jobs = bare.get<Jobs>(Jobs);
  const outbox = bare.get<Outbox>(Outbox);
  const view = jetstream.view();
  jobs.register(RECONCILIATION, {
    intervalMs: RECONCILE_EVERY_MS,
    run: async () => {
      await outbox.reconcile(view);
      return false;
    },
  });
  const ends = jetstream.onReconnection(() => {
    if (process.alive) process.run(() => jobs.wake(RECONCILIATION));
    else ends();
  });
}

/** What a process that did not start says. */
export function whyNotStarted(error: unknown): string {
  return `does not start: ${errorMessage(error)}`;
}
