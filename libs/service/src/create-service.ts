import { errorMessage, type Clock } from '@flotilla/kernel';
import type { Broker } from '@flotilla/messaging';
import type { HealthRegistry, Logger, Metrics } from '@flotilla/observability';
import { NestPinoLogger, observeHttp } from '@flotilla/observability/nest';
import type { Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { ChassisModule } from './chassis.module.ts';
import type { ChassisConfig } from './config/chassis-settings.ts';
import type { ServiceSpec } from './flotilla.module.ts';
import { ServiceRuntime } from './service-runtime.ts';

/** Everything that a service is made of; `runService` gets it from the environment, a test makes its own. */
export interface ServiceParts {
  readonly module: Type<unknown>;
  readonly spec: ServiceSpec;
  readonly config: ChassisConfig;
  /** The class under which the configuration is injected. */
  readonly configClass: Type<unknown> | (abstract new (...args: never[]) => unknown);
  /** Connected; the service closes it when it stops. */
  readonly broker: Broker;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly health: HealthRegistry;
}

export interface RunningService {
  readonly app: NestFastifyApplication;
  /** Starts to listen and to handle messages. Resolves when the service is ready, with its HTTP address. */
  start(): Promise<{ url: string }>;
  /** Stops cleanly, within the configured bound. Calling it again waits for the same stop. */
  stop(): Promise<void>;
}

/** Largest body that HTTP takes by default, in bytes. */
const BODY_LIMIT_BYTES = 1_048_576;

/** Builds a service around its module: Nest application, chassis, health. Nothing is handled before `start`. */
export async function createService(parts: ServiceParts): Promise<RunningService> {
  const { config, broker, clock, logger, metrics, health, module } = parts;
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_LIMIT_BYTES,
    // Keep-alive connections are closed at once when the service drains.
    forceCloseConnections: 'idle',
    // A path with a broken escape is the caller's fault, not an exception.
    routerOptions: { maxParamLength: 500 },
  });
  observeHttp(adapter.getInstance(), { metrics, clock });
  const app = await NestFactory.create<NestFastifyApplication>(ChassisModule.forRoot(parts), adapter, {
    logger: new NestPinoLogger(logger),
    abortOnError: false,
  });
  health.register({
    name: 'nats',
    check: () => {
      const { connected, detail } = broker.health();
      if (!connected) throw new Error(detail ?? 'not connected');
    },
  });
  health.register({
    name: 'jetstream',
    check: () => {
      const { jetstream, detail } = broker.health();
      if (!jetstream) throw new Error(detail ?? 'JetStream does not answer');
    },
  });
  metrics.observeBroker(() => broker.health());
  try {
    await parts.spec.http?.(app);
    await app.init();
  } catch (error) {
    await app.close().catch((closing: unknown) => logger.warn(`Closing after a failed start: ${errorMessage(closing)}`));
    throw error;
  }
  const runtime = app.get(ServiceRuntime);

  let stopped: Promise<void> | undefined;
  return {
    app,
    async start() {
      await app.listen({ port: config.port, host: config.host });
      await runtime.start();
      return { url: await app.getUrl() };
    },
    stop() {
      stopped ??= (async () => {
        health.drain();
        await runtime.stop(config.drainMs);
        await app.close();
        await broker.close({ drainMs: config.drainMs });
      })();
      return stopped;
    },
  };
}
