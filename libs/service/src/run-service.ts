import { errorMessage, FlotillaError, systemClock } from '@flotilla/kernel';
import { NatsBroker, topologyOf, verifyTopology, type NatsTls } from '@flotilla/messaging';
import {
  createLogger,
  createMetrics,
  HealthRegistry,
  startTracing,
  type Tracing,
} from '@flotilla/observability';
import type { Type } from '@nestjs/common';
import { awaitDatabase } from './await-database.ts';
import { serviceMigrations } from './chassis.module.ts';
import type { ChassisConfig } from './config/chassis-settings.ts';
import { secretSettings, type ConfigClass } from './config/define-config.ts';
import { createService, type RunningService } from './create-service.ts';
import { serviceSpecOf } from './flotilla.module.ts';
import { NoDatabaseError } from './service.errors.ts';

/** `EX_CONFIG` of sysexits.h: starting again without changing something will not help. */
const EXIT_CONFIG = 78;
const CONFIG_ERRORS: ReadonlySet<string> = new Set([
  'INVALID_CONFIG',
  'NO_DATABASE',
  'NOT_A_SERVICE',
  'MANIFEST_MISMATCH',
  'INVALID_CALL_POLICIES',
  'NATS_TLS_UNUSABLE',
]);

/**
 * Runs a service: reads its configuration, connects, checks its database and its streams, serves health and metrics,
 * handles messages. Stops on SIGTERM and SIGINT: takes nothing new, finishes what is in flight within `DRAIN_MS`,
 * gives the rest back, empties the outbox, exits 0. A second signal exits at once. A start that fails exits 78 when
 * the configuration or the code is at fault and 1 when trying again may help.
 */
export async function runService<V>(
  module: Type<unknown>,
  configClass: ConfigClass<V> & (new (values: never) => ChassisConfig),
): Promise<void> {
  // Until the configuration is read, the level is not known.
  let logger = createLogger({ service: module.name });
  let service: RunningService | undefined;
  let tracing: Tracing | undefined;
  process.on('uncaughtExceptionMonitor', (error, origin) => {
    // Node ends the process after this; what was in flight is delivered again.
    logger.fatal({ err: error, origin }, `The process ends: ${errorMessage(error)}`);
  });
  const signals = onStop(
    async (cause) => {
      logger.info(`The service stops on ${cause}`);
      await service?.stop();
      await tracing?.shutdown();
      logger.info('The service has stopped');
    },
    (error) => logger.fatal({ err: error }, `The service did not stop cleanly: ${errorMessage(error)}`),
  );
  try {
    const spec = serviceSpecOf(module);
    const { manifest } = spec;
    logger = createLogger({ service: manifest.name });
    const config = configClass.fromEnvironment<ChassisConfig>(process.env);
    logger = createLogger({
      service: manifest.name,
      level: config.logLevel,
      secrets: secretSettings(configClass),
    });
    tracing = await startTracing({
      service: manifest.name,
      version: config.serviceVersion,
      onProblem: (problem) => logger.warn(problem),
    });
    const metrics = createMetrics({ service: manifest.name, onProblem: (problem) => logger.warn(problem) });
    if (manifest.database) {
      if (config.databaseUrl === undefined) throw new NoDatabaseError(manifest.name);
      await awaitDatabase({
        service: manifest.name,
        url: config.databaseUrl,
        migrations: serviceMigrations(spec),
        withinMs: config.connectTimeoutMs,
        clock: systemClock,
      });
    }
    const broker = await NatsBroker.connect({
      servers: config.natsUrl,
      name: manifest.name,
      service: manifest.name,
      connectTimeoutMs: config.connectTimeoutMs,
      inlineMaxBytes: config.inlineMaxBytes,
      stuckAfterMs: config.stuckAfterMs,
      metrics,
      log: logger,
      ...(config.natsUser !== undefined && {
        credentials: { user: config.natsUser, password: config.natsPassword ?? '' },
      }),
      ...tlsOf(config),
    });
    await verifyTopology(broker.connection, topologyOf([manifest]), { service: manifest.name });
    service = await createService({
      module,
      spec,
      config,
      configClass,
      broker,
      connection: broker.connection,
      clock: systemClock,
      logger,
      metrics,
      health: new HealthRegistry(),
    });
    const { url } = await service.start();
    if (signals.stopping) return;
    logger.info({ url }, `${manifest.name} is ready at ${url}`);
    // A parent that supervises the process (fleet up) is told, and its end is noticed.
    process.send?.({ type: 'ready', url });
  } catch (error) {
    if (signals.stopping) return;
    logger.fatal({ err: error }, `The service did not start: ${errorMessage(error)}`);
    // What was taken already goes back at once instead of after the broker's patience.
    await service
      ?.stop()
      .catch((stopping: unknown) => logger.warn({ err: stopping }, 'It did not stop cleanly either'));
    process.exit(error instanceof FlotillaError && CONFIG_ERRORS.has(error.code) ? EXIT_CONFIG : 1);
  }
}

/** How the connection to NATS is encrypted; nothing where no setting says so. */
function tlsOf({ natsTlsCa, natsTlsCert, natsTlsKey }: ChassisConfig): { readonly tls?: NatsTls } {
  const tls = {
    ...(natsTlsCa !== undefined && { caFile: natsTlsCa }),
    ...(natsTlsCert !== undefined && { certFile: natsTlsCert }),
    ...(natsTlsKey !== undefined && { keyFile: natsTlsKey }),
  };
  return Object.keys(tls).length === 0 ? {} : { tls };
}

/** Stops once, on the first cause; `failed` hears of a stop that did not succeed. */
function onStop(
  stop: (cause: string) => Promise<void>,
  failed: (error: unknown) => void,
): { readonly stopping: boolean } {
  const causes = new Set<string>();
  const onCause = (cause: string): void => {
    // A terminal's Ctrl-C and the parent's SIGTERM may come together; only the same signal again means hurry.
    if (causes.has(cause)) process.exit(130);
    causes.add(cause);
    if (causes.size > 1) return;
    stop(cause).then(
      () => process.exit(0),
      (error: unknown) => {
        failed(error);
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', () => onCause('SIGTERM'));
  process.on('SIGINT', () => onCause('SIGINT'));
  process.on('disconnect', () => onCause('the end of its parent'));
  return {
    get stopping() {
      return causes.size > 0;
    },
  };
}
