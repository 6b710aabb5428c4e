import type { Clock } from '@flotilla/kernel';
import type { Broker } from '@flotilla/messaging';
import type { HealthRegistry, Logger, Metrics } from '@flotilla/observability';
import type { NatsConnection } from '@nats-io/nats-core';
import type { Type } from '@nestjs/common';
import type { ChassisConfig } from './config/chassis-settings.ts';
import type { ServiceSpec } from './flotilla.module.ts';

/** Everything that a service is made of; `runService` gets it from the environment, a test makes its own. */
export interface ServiceParts {
  readonly module: Type<unknown>;
  readonly spec: ServiceSpec;
  readonly config: ChassisConfig;
  /** The class under which the configuration is injected. */
  readonly configClass: Type<unknown> | (abstract new (...args: never[]) => unknown);
  /** Connected; the service closes it when it stops. */
  readonly broker: Broker;
  /** The broker's connection, to find out what the server has lost. Without it nothing is published a second time. */
  readonly connection?: NatsConnection;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly health: HealthRegistry;
}
