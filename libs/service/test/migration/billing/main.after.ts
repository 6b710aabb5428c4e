import { FlotillaServer } from '@flotilla/messaging/nest';
import type { INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { MicroserviceOptions } from '@nestjs/microservices';
import { BillingModule } from './billing.module.ts';

export async function start(servers: string): Promise<INestMicroservice> {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(BillingModule, {
    strategy: new FlotillaServer({ service: 'billing', servers }),
  });
  await app.listen();
  return app;
}
