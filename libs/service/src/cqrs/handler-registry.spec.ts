import { defineCommand, defineEvent, defineQuery, defineService } from '@flotilla/contracts-protocol';
import { Injectable, Module, Scope } from '@nestjs/common';
import { ModulesContainer, NestFactory } from '@nestjs/core';
import { CommandHandler, EventsHandler, QueryHandler } from '@nestjs/cqrs';
import { z } from 'zod';
import { Independent, Locks, OutsideUnitOfWork, Reaction } from '../decorators.ts';
import { HandlerRegistry } from './handler-registry.ts';

const payload = z.object({ id: z.string() });
const shared = { owner: 'shop', version: 1, payload };
class Open extends defineCommand({ ...shared, name: 'Open' }) {}
class Shut extends defineCommand({ ...shared, name: 'Shut' }) {}
class IsOpen extends defineQuery({ ...shared, name: 'IsOpen', reply: z.boolean() }) {}
class Opened extends defineEvent({ ...shared, name: 'Opened', aggregate: ({ id }) => id }) {}
class Closed extends defineEvent({ ...shared, name: 'Closed', aggregate: ({ id }) => id }) {}
class Plain {}

@CommandHandler(Open)
class OpenHandler {
  execute(): void {}
}
@CommandHandler(Open)
@OutsideUnitOfWork()
@Independent()
@Locks(() => ['door'])
class OtherOpenHandler {
  execute(): void {}
}
@CommandHandler(Plain)
class PlainHandler {
  execute(): void {}
}
@QueryHandler(IsOpen)
class IsOpenHandler {
  execute(): boolean {
    return true;
  }
}
@EventsHandler(Opened, Closed)
@Reaction('board')
class BoardReaction {
  handle(): void {}
}
@EventsHandler(Opened)
@Reaction('board')
class SecondBoardReaction {
  handle(): void {}
}
@EventsHandler(Opened)
class NamelessReaction {
  handle(): void {}
}
@EventsHandler(Plain)
@Reaction('plain')
class PlainReaction {
  handle(): void {}
}
@EventsHandler(Closed)
@Reaction('closed')
@Injectable({ scope: Scope.REQUEST })
class RequestScopedReaction {
  handle(): void {}
}

async function explore(
  providers: (new () => object)[],
  manifest: Parameters<typeof defineService>[0],
  sagaReactions: string[] = [],
): Promise<string[]> {
  @Module({ providers })
  class ShopModule {}
  const app = await NestFactory.createApplicationContext(ShopModule, { logger: false });
  const problems = new HandlerRegistry(app.get(ModulesContainer)).explore(
    defineService(manifest),
    new Set(sagaReactions),
  );
  await app.close();
  return problems;
}

describe('the handlers of a service', () => {
  it('match its manifest, and plain classes need not be in it', async () => {
    const providers = [OpenHandler, IsOpenHandler, PlainHandler, BoardReaction];
    const reacts = { board: { events: [Opened, Closed] } };
    expect(await explore(providers, { name: 'shop', handles: [Open, IsOpen], reacts })).toEqual([]);
  });

  it('that do not are reported, all of them at once', async () => {
    const problems = await explore(
      [
        OpenHandler,
        OtherOpenHandler,
        IsOpenHandler,
        BoardReaction,
        SecondBoardReaction,
        NamelessReaction,
        PlainReaction,
        RequestScopedReaction,
      ],
      {
        name: 'shop',
        handles: [Open, Shut],
        reacts: { board: { events: [Opened] }, missing: { events: [Closed] }, sagas: { events: [Closed] } },
      },
      ['sagas', 'elsewhere'],
    );
    expect(problems).toEqual([
      'shop.Open.v1 has two handlers: OpenHandler and OtherOpenHandler',
      'OtherOpenHandler has @Locks and @OutsideUnitOfWork: locks last as long as a unit of work, and it has none',
      'OtherOpenHandler has @Independent and @OutsideUnitOfWork: it has no unit of work to overlap',
      "NamelessReaction handles events but has no @Reaction('name'): its subscription needs a lasting name",
      'PlainReaction handles classes that are no contracts: declare them with defineEvent',
      'RequestScopedReaction is request-scoped, but events come without a request: give it the default scope',
      'shop.Shut.v1 is listed but has no handler',
      'shop.IsOpen.v1 has a handler but is not listed in handles or standsInFor',
      'reaction "elsewhere" of a saga is not listed in reacts',
      'reacts.board: shop.Opened.v1 has several handlers; give each a reaction of its own',
      'shop.Closed.v1 has a handler in reaction "board" but is not listed there',
      "reacts.missing is listed but has no @EventsHandler with @Reaction('missing')",
      "@Reaction('closed') is not listed in reacts",
    ]);
  });

  it('need a database for what must be durable', async () => {
    expect(
      await explore([OpenHandler, IsOpenHandler], {
        name: 'shop',
        database: false,
        handles: [Open, IsOpen],
        publishes: [Opened],
      }),
    ).toEqual([
      'it has no database (database: false), and nothing durable (commands) without one',
      'it has no database (database: false), and nothing durable (publishes) without one',
    ]);
  });
});
