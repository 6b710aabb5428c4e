import { FlotillaServer } from '@flotilla/messaging/nest';
import type { INestApplication } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { Transport, type MicroserviceOptions } from '@nestjs/microservices';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { BillingModule } from './billing.module.ts';

export async function start(servers: string): Promise<INestApplication> {
  const app = await NestFactory.create(BillingModule, new FastifyAdapter());
  app.connectMicroservice<MicroserviceOptions>({
    transport: Transport.NATS,
    options: { servers: [servers], queue: 'billing' },
  });
  app.connectMicroservice<MicroserviceOptions>({
    strategy: new FlotillaServer({ service: 'billing', servers }),
  });
  await app.init();
  await app.startAllMicroservices();
  return app;
}
