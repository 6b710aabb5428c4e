import { errorMessage, FlotillaError, systemClock } from '@flotilla/kernel';
import { NatsBroker, topologyOf, verifyTopology } from '@flotilla/messaging';
import { createLogger, createMetrics, HealthRegistry, startTracing } from '@flotilla/observability';
import type { Type } from '@nestjs/common';
import type { ChassisConfig } from './config/chassis-settings.ts';
import type { ConfigClass } from './config/define-config.ts';
import { createService } from './create-service.ts';
import { serviceSpecOf } from './flotilla.module.ts';

/** `EX_CONFIG` of sysexits.h: starting again without changing something will not help. */
const EXIT_CONFIG = 78;

/**
 * Runs a service: reads its configuration, connects, checks its database and its streams, serves health and metrics,
 * handles messages. Stops on SIGTERM and SIGINT: takes nothing new, finishes what is in flight within `DRAIN_MS`,
 * gives the rest back, empties the outbox, exits 0. A second signal exits at once.
 */
export async function runService<V>(
  module: Type<unknown>,
  configClass: ConfigClass<V> & (new (values: never) => ChassisConfig),
): Promise<void> {
  const spec = serviceSpecOf(module);
  const { name } = spec.manifest;
  // Until the configuration is read, the level is not known.
  let logger = createLogger({ service: name });
  try {
    const config: ChassisConfig = configClass.fromEnvironment(process.env) as ChassisConfig;
    logger = createLogger({
      service: name,
      level: config.logLevel,
      secrets: [config.natsPassword, config.databaseUrl].filter((secret) => secret !== undefined),
    });
    const tracing = await startTracing({ service: name, onProblem: (problem) => logger.warn(problem) });
    const metrics = createMetrics({ service: name });
    const broker = await NatsBroker.connect({
      servers: config.natsUrl,
      name,
      service: name,
      connectTimeoutMs: config.connectTimeoutMs,
      metrics,
      log: logger,
      ...(config.natsUser !== undefined && {
        credentials: { user: config.natsUser, password: config.natsPassword ?? '' },
      }),
    });
    await verifyTopology(broker.connection, topologyOf([spec.manifest]), { service: name });
    const service = await createService({
      module,
      spec,
      config,
      configClass,
      broker,
      clock: systemClock,
      logger,
      metrics,
      health: new HealthRegistry(),
    });
    const { url } = await service.start();
    logger.info({ url }, `${name} is ready at ${url}`);
    // A parent that supervises the process (fleet up) is told, and its end is noticed.
    process.send?.({ type: 'ready', url });
    const stop = async (cause: string): Promise<void> => {
      logger.info(`${name} stops on ${cause}`);
      await service.stop();
      await tracing.shutdown();
      logger.info(`${name} has stopped`);
    };
    stopOnSignals(stop, (error) => logger.fatal({ err: error }, `${name} did not stop cleanly`));
  } catch (error) {
    logger.fatal({ err: error }, `${name} did not start: ${errorMessage(error)}`);
    const configuration = error instanceof FlotillaError && error.code === 'INVALID_CONFIG';
    process.exit(configuration ? EXIT_CONFIG : 1);
  }
}

function stopOnSignals(stop: (cause: string) => Promise<void>, failed: (error: unknown) => void): void {
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
}
