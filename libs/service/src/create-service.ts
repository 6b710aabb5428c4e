import { errorMessage } from '@flotilla/kernel';
import type { PolicyReading } from '@flotilla/observability';
import { NestPinoLogger, observeHttp } from '@flotilla/observability/nest';
import { Outbox } from '@flotilla/persistence';
import { PolicyRegistry, type SinglePolicy } from '@flotilla/resilience';
import type { NatsConnection } from '@nats-io/nats-core';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { DataSource } from 'typeorm';
import { ChassisModule } from './chassis.module.ts';
import type { Settings } from './config/define-config.ts';
import { DynamicSettings } from './dynamic-settings.ts';
import { connectControllers } from './inbound/controllers.ts';
import { SagaHost } from './sagas/saga-host.ts';
import { ScheduleHost } from './schedules/schedule-host.ts';
import type { ServiceParts } from './service-parts.ts';
import { assertFiring, assertPublishing } from './stuck.ts';
import { ServiceRuntime } from './service-runtime.ts';
import { UncleanStopError } from './service.errors.ts';

export interface RunningService {
  readonly app: NestFastifyApplication;
  /** Starts to listen and to handle messages. Resolves when the service is ready, with its HTTP address. */
  start(): Promise<{ url: string }>;
  /**
   * Stops: takes nothing new, finishes what is in flight within `DRAIN_MS`, gives the rest back, empties the outbox
   * and disconnects, whatever of it fails; then rejects with what failed. Calling it again waits for the same stop.
   */
  stop(): Promise<void>;
}

/** Largest body that HTTP takes by default, in bytes. */
const BODY_LIMIT_BYTES = 1_048_576;
/** How long a request may take to come in, headers alone, and how often that is looked at, in milliseconds. */
const RECEIVE_TIMEOUT_MS = 30_000;
const HEADERS_TIMEOUT_MS = 10_000;
const CONNECTIONS_CHECK_MS = 5_000;
/** A connection without a byte for so long is cut, in milliseconds; a little longer than Fastify keeps idle ones. */
const IDLE_TIMEOUT_MS = 75_000;
/** What each later part of a stop gets even when the parts before it have used up the time, in milliseconds. */
const LEAST_STOP_MS = 1_000;

/** Builds a service around its module: Nest application, chassis, health. Nothing is handled before `start`. */
export async function createService(parts: ServiceParts): Promise<RunningService> {
  const { config, broker, clock, logger, metrics } = parts;
  // Before anything is made of the configuration.
  const settings = parts.connection && (await openSettings(parts, parts.connection));
  const adapter = new FastifyAdapter(serverOptions(parts));
  observeHttp(adapter.getInstance(), { metrics, clock });
  let opening: Promise<DataSource> | undefined;
  const app = await NestFactory.create<NestFastifyApplication>(
    ChassisModule.forRoot(parts, (begun) => {
      opening = begun;
    }),
    adapter,
    { logger: new NestPinoLogger(logger), abortOnError: false },
  ).catch(async (error: unknown) => {
    // There is no application that could be closed, only what was opened for it.
    settings?.stop();
    await opening?.then((dataSource) => dataSource.destroy()).catch(() => undefined);
    throw error;
  });
  let startControllers: ReturnType<typeof connectControllers>;
  try {
    startControllers = connectControllers(parts, app);
    // Before the routes are made: what it adds has to apply to them.
    await parts.spec.http?.(app);
    await app.init();
  } catch (error) {
    settings?.stop();
    await app
      .close()
      .catch((closing: unknown) => logger.warn(`Closing after a failed start: ${errorMessage(closing)}`));
    throw error;
  }
  const runtime = app.get(ServiceRuntime);
  observeState(parts, app, runtime);
  if (settings) observeSettings(parts, settings);

  /** Requests that are still being answered get `withinMs`, streams that never end too. */
  const closeApp = async (withinMs: number): Promise<void> => {
    const impatience = clock.after(withinMs, () => app.getHttpServer().closeAllConnections());
    await app.close();
    impatience.cancel();
  };

  let starting: Promise<{ url: string }> | undefined;
  let stopped: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    const sinceMs = clock.monotonicMs();
    const leftMs = (): number => Math.max(LEAST_STOP_MS, config.drainMs - (clock.monotonicMs() - sinceMs));
    parts.health.drain();
    const failures: unknown[] = [];
    const attempt = (part: () => Promise<unknown>): Promise<unknown> =>
      part().catch((error: unknown) => failures.push(error));
    // Whether a start that is under way succeeds no longer matters, but two hands on one service would.
    await starting?.catch(() => undefined);
    await attempt(() => runtime.stop(leftMs));
    await attempt(() => closeApp(leftMs()));
    settings?.stop();
    await attempt(() => broker.close({ drainMs: leftMs() }));
    if (failures.length > 0) throw new UncleanStopError(parts.spec.manifest.name, failures);
  };
  return {
    app,
    start() {
      starting ??= (async () => {
        await app.listen({ port: config.port, host: config.host });
        await runtime.start(startControllers);
        return { url: await app.getUrl() };
      })();
      return starting;
    },
    stop() {
      stopped ??= stop();
      return stopped;
    },
  };
}

/** Bounds on what a caller may hold: without them one that sends a byte a minute keeps its connection for good. */
function serverOptions({ spec, config }: ServiceParts) {
  const {
    trustProxy = [],
    receiveTimeoutMs = RECEIVE_TIMEOUT_MS,
    idleTimeoutMs = IDLE_TIMEOUT_MS,
    frameworkErrors,
    clientErrorHandler,
  } = spec.httpServer?.(config) ?? {};
  return {
    bodyLimit: BODY_LIMIT_BYTES,
    // Keep-alive connections are closed at once when the service drains.
    forceCloseConnections: 'idle' as const,
    routerOptions: { maxParamLength: 500 },
    requestTimeout: receiveTimeoutMs,
    connectionTimeout: idleTimeoutMs,
    http: {
      headersTimeout: Math.min(HEADERS_TIMEOUT_MS, receiveTimeoutMs),
      requestTimeout: receiveTimeoutMs,
      // How exactly both are kept; it costs a timer.
      connectionsCheckingInterval: Math.min(CONNECTIONS_CHECK_MS, receiveTimeoutMs / 2),
    },
    ...(trustProxy.length > 0 && { trustProxy: [...trustProxy] }),
    ...(frameworkErrors && { frameworkErrors }),
    ...(clientErrorHandler && { clientErrorHandler }),
  };
}

function openSettings(
  { spec, config, configClass, logger }: ServiceParts,
  connection: NatsConnection,
): Promise<DynamicSettings | undefined> {
  // A configuration that no `defineConfig` made has no settings, and nothing that changes.
  const { settings } = configClass as { readonly settings?: Settings };
  return DynamicSettings.open({ service: spec.manifest.name, config, settings, connection, logger });
}

function observeSettings({ health, metrics }: ServiceParts, settings: DynamicSettings): void {
  health.register({
    name: 'settings',
    impact: 'degraded',
    check: () => {
      const problems = settings.problems();
      if (problems.length > 0) throw new Error(problems.join('; '));
    },
  });
  metrics.observeSettings(() => settings.states());
}

/** What probes and metrics read at each visit. */
function observeState(parts: ServiceParts, app: NestFastifyApplication, runtime: ServiceRuntime): void {
  const { health, metrics, broker, spec } = parts;
  health.register({
    name: 'handlers',
    check: () => {
      if (!runtime.started) throw new Error('the service does not handle messages yet');
    },
  });
  health.register({
    name: 'nats',
    check: () => {
      const { connected, detail } = broker.health();
      if (!connected) throw new Error(detail ?? 'not connected');
    },
  });
  // Also says so when one of the service's consumers does not receive.
  health.register({
    name: 'jetstream',
    check: () => {
      const { jetstream, detail } = broker.health();
      if (!jetstream) throw new Error(detail ?? 'JetStream does not answer');
    },
  });
  metrics.observeBroker(() => broker.health());
  // A consumer that is paused or stuck is one of many, and restarting would not help it.
  health.register({
    name: 'consumers',
    impact: 'degraded',
    check: () => {
      const { degraded = [] } = broker.health();
      if (degraded.length > 0) throw new Error(degraded.join('; '));
    },
  });
  const policies = app.get(PolicyRegistry, { strict: false });
  // What a service calls is no part of it: it stays in traffic and says whom it cannot reach.
  health.register({ name: 'policies', impact: 'degraded', check: () => policies.assertClosed() });
  metrics.observePolicies(() => policies.list().map(readingOf));
  policies.onChange(({ policy, from, to, cause }) =>
    parts.logger.warn({ policy, err: cause }, `The breaker of ${policy} went from ${from} to ${to}`),
  );
  if (!spec.manifest.database) return;
  const dataSource = app.get(DataSource, { strict: false });
  const outbox = app.get(Outbox, { strict: false });
  const schedules = app.get(ScheduleHost);
  if (schedules.count > 0) {
    health.register({
      name: 'schedules',
      impact: 'degraded',
      check: async () => {
        const problems = await schedules.problems();
        if (problems.length > 0) throw new Error(problems.join('; '));
      },
    });
    metrics.observeSchedules(() => schedules.readings());
  }
  health.register({ name: 'database', check: async () => void (await dataSource.query('SELECT 1')) });
  metrics.observeOutbox(() => outbox.stats());
  const { stuckAfterMs } = parts.config;
  health.register({
    name: 'outbox',
    impact: 'degraded',
    check: async () => assertPublishing(await outbox.stats(), stuckAfterMs),
  });
  if ((spec.sagas ?? []).length === 0) return;
  const sagas = app.get(SagaHost);
  health.register({
    name: 'saga-timers',
    impact: 'degraded',
    check: async () => assertFiring(await sagas.oldestTimer(), parts.clock.now(), stuckAfterMs),
  });
  metrics.observeSagaTimers(async () => {
    const oldest = await sagas.oldestTimer();
    return { overdueMs: Math.max(0, parts.clock.now() - (oldest?.dueAt ?? Infinity)) };
  });
}

/** Of a policy's state what it has a part for: most policies of calls only retry. */
function readingOf(policy: SinglePolicy): PolicyReading {
  const { breaker, bulkhead } = policy.options;
  const state = policy.state();
  return {
    name: policy.name,
    ...(breaker !== undefined && { breaker: state.breaker }),
    ...((breaker ?? bulkhead) !== undefined && { running: state.running, queued: state.queued }),
    ...(state.retriesLeft !== undefined && { retriesLeft: state.retriesLeft }),
  };
}
