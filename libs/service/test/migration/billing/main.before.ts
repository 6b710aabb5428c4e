import type { INestMicroservice } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Transport, type MicroserviceOptions } from '@nestjs/microservices';
import { BillingModule } from './billing.module.ts';

export async function start(servers: string): Promise<INestMicroservice> {
  const app = await NestFactory.createMicroservice<MicroserviceOptions>(BillingModule, {
    transport: Transport.NATS,
    options: { servers: [servers], queue: 'billing' },
  });
  await app.listen();
  return app;
}
