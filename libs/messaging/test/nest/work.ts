import { Controller, Inject, Module, StandardSchemaValidationPipe, type DynamicModule } from '@nestjs/common';
import { APP_PIPE } from '@nestjs/core';
import { Ctx, EventPattern, MessagePattern, Payload } from '@nestjs/microservices';
import { defineCommand, defineEvent, defineQuery } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import type { FlotillaContext } from '../../src/nest/index.ts';

export class GetPrice extends defineQuery({
  owner: 'prices',
  name: 'GetPrice',
  version: 1,
  payload: z.object({ sku: z.string().min(1) }),
  reply: z.object({ price: z.number() }),
  errors: { Unpriced: z.object({ sku: z.string() }) },
}) {}

export class Priced extends defineEvent({
  owner: 'prices',
  name: 'Priced',
  version: 1,
  payload: z.object({ sku: z.string(), price: z.number() }),
  aggregate: ({ sku }) => sku,
}) {}

export class SetPrice extends defineCommand({
  owner: 'prices',
  name: 'SetPrice',
  version: 1,
  payload: z.object({ sku: z.string() }),
}) {}

type Handle = (data: unknown, context: FlotillaContext) => unknown;

/** What the controller does; each test says. */
export class Work {
  done: Handle = () => undefined;
  other: Handle = () => undefined;
  hint: Handle = () => undefined;
  ask: Handle = () => undefined;
  price: Handle = () => undefined;
  priced: Handle = () => undefined;
}

@Controller()
class WorkController {
  constructor(@Inject(Work) private readonly work: Work) {}

  @EventPattern<string>('work.done')
  done(@Payload() data: unknown, @Ctx() context: FlotillaContext): unknown {
    return this.work.done(data, context);
  }

  @EventPattern('work.checked')
  checked(@Payload({ schema: z.object({ n: z.number() }) }) data: unknown): unknown {
    return data;
  }

  @EventPattern<string>('work.other')
  other(@Payload() data: unknown, @Ctx() context: FlotillaContext): unknown {
    return this.work.other(data, context);
  }

  @EventPattern<string>('work.hint', { broadcast: true })
  hint(@Payload() data: unknown, @Ctx() context: FlotillaContext): unknown {
    return this.work.hint(data, context);
  }

  @MessagePattern('work.ask')
  ask(@Payload() data: unknown, @Ctx() context: FlotillaContext): unknown {
    return this.work.ask(data, context);
  }

  @MessagePattern(GetPrice)
  price(@Payload() data: unknown, @Ctx() context: FlotillaContext): unknown {
    return this.work.price(data, context);
  }

  @EventPattern(Priced)
  priced(@Payload() data: unknown, @Ctx() context: FlotillaContext): unknown {
    return this.work.priced(data, context);
  }
}

@Module({})
export class WorkModule {
  static with(work: Work): DynamicModule {
    return {
      module: WorkModule,
      controllers: [WorkController],
      providers: [
        { provide: Work, useValue: work },
        { provide: APP_PIPE, useFactory: () => new StandardSchemaValidationPipe() },
      ],
    };
  }
}
