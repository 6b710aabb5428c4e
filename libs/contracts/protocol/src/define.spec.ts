import type { CommandBus, QueryBus } from '@nestjs/cqrs';
import { z } from 'zod';
import {
  BusinessError,
  contractOf,
  defineCommand,
  defineEvent,
  defineQuery,
  defineService,
  InvalidMessageError,
  isMessage,
  jsonSchemaOf,
  type ErrorsOf,
  type PayloadOf,
  type ReplyOf,
} from './index.ts';

class ReserveStock extends defineCommand({
  owner: 'inventory',
  name: 'ReserveStock',
  version: 1,
  payload: z.object({
    orderId: z.string(),
    lines: z.array(z.object({ sku: z.string().min(1), quantity: z.int().positive() })).min(1),
  }),
  reply: z.object({ reservationId: z.string() }),
  errors: { OutOfStock: z.object({ skus: z.array(z.string()) }) },
  key: (payload) => payload.orderId,
}) {}

class GetStock extends defineQuery({
  owner: 'inventory',
  name: 'GetStock',
  version: 2,
  payload: z.object({ sku: z.string() }),
  reply: z.object({ onHand: z.number() }),
}) {}

class StockReceived extends defineEvent({
  owner: 'inventory',
  name: 'StockReceived',
  version: 1,
  payload: z.object({ sku: z.string(), quantity: z.number() }),
  aggregate: (payload) => payload.sku,
}) {}

class Ping extends defineCommand({ owner: 'inventory', name: 'Ping', version: 1, payload: z.object({}) }) {}

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const same = <A, B>(equal: Equal<A, B>): void => expect(equal).toBe(true);

describe('a message class', () => {
  it('carries its validated payload and its contract', () => {
    const command = new ReserveStock({ orderId: 'o-1', lines: [{ sku: 'A', quantity: 2 }] });
    expect(command.payload.lines[0]?.quantity).toBe(2);
    expect(contractOf(command)).toBe(ReserveStock.contract);
    expect(contractOf(ReserveStock)).toMatchObject({
      kind: 'command',
      owner: 'inventory',
      type: 'inventory.ReserveStock.v1',
      timeoutMs: 5_000,
    });
    expect(isMessage(command)).toBe(true);
    expect(isMessage({ payload: {} })).toBe(false);
  });

  it('reports every problem of a payload in one error', () => {
    const make = (): unknown => new ReserveStock({ orderId: 1 as never, lines: [{ sku: '', quantity: -1 }] });
    expect(make).toThrow(InvalidMessageError);
    try {
      make();
    } catch (error) {
      expect((error as InvalidMessageError).problems.map((problem) => problem.path)).toEqual([
        'orderId',
        'lines.0.sku',
        'lines.0.quantity',
      ]);
    }
  });

  it('drops fields that it does not know, so that a newer sender can add some', () => {
    expect(new GetStock({ sku: 'A', since: 1 } as never).payload).toEqual({ sku: 'A' });
  });

  it('makes and recognises its declared errors', () => {
    const error = ReserveStock.failure('OutOfStock', { skus: ['A'] });
    expect(error).toBeInstanceOf(BusinessError);
    expect(error).toMatchObject({ code: 'OutOfStock', type: 'inventory.ReserveStock.v1', retry: 'never' });
    expect(ReserveStock.isFailure(error, 'OutOfStock')).toBe(true);
    expect(ReserveStock.isFailure(new Error('x'))).toBe(false);
    expect(() => ReserveStock.failure('OutOfStock', { skus: 1 as never })).toThrow(InvalidMessageError);
  });

  it('refuses a name that could not be a subject', () => {
    const broken = { version: 1, payload: z.object({}), aggregate: () => 'x' };
    expect(() => defineEvent({ ...broken, owner: 'a.b', name: 'X' })).toThrow(/kebab-case/);
    expect(() => defineEvent({ ...broken, owner: 'a', name: 'x y' })).toThrow(/PascalCase/);
    expect(() => defineEvent({ ...broken, owner: 'a', name: 'X', version: 0 })).toThrow(/whole number/);
  });

  it('says which JSON it takes and gives', () => {
    expect(jsonSchemaOf(ReserveStock.contract)).toMatchSnapshot();
  });
});

describe('the types of a message class', () => {
  it('infer payload, reply and errors', () => {
    same<PayloadOf<typeof GetStock>, { sku: string }>(true);
    same<ReplyOf<typeof ReserveStock>, { reservationId: string }>(true);
    same<ReplyOf<ReserveStock>, { reservationId: string }>(true);
    same<ReplyOf<Ping>, void>(true);
    same<ErrorsOf<typeof ReserveStock>, { OutOfStock: { skus: string[] } }>(true);
    same<StockReceived['payload'], { sku: string; quantity: number }>(true);
  });

  it('are those of a command and a query of @nestjs/cqrs, and a wrong use does not compile', () => {
    // Compiled, never called: the type checker is the test.
    const uses = async (commands: CommandBus, queries: QueryBus): Promise<void> => {
      const reply = await commands.execute(
        new ReserveStock({ orderId: 'o', lines: [{ sku: 'A', quantity: 1 }] }),
      );
      same<typeof reply, { reservationId: string }>(true);
      const stock = await queries.execute(new GetStock({ sku: 'A' }));
      same<typeof stock, { onHand: number }>(true);
      void stock.onHand;
      // @ts-expect-error a payload without its lines
      new ReserveStock({ orderId: 'o' });
      // @ts-expect-error a quantity that is no number
      new ReserveStock({ orderId: 'o', lines: [{ sku: 'A', quantity: '1' }] });
      // @ts-expect-error a reply field that is not there
      void reply.shipmentId;
      // @ts-expect-error an error that is not declared
      void ReserveStock.failure('Unknown', {});
      // @ts-expect-error data that the error does not carry
      void ReserveStock.failure('OutOfStock', { sku: 'A' });
    };
    expect(uses).toBeInstanceOf(Function);
  });
});

describe('a service manifest', () => {
  it('lists what the service answers, for itself and as a stand-in', () => {
    const manifest = defineService({
      name: 'inventory',
      handles: [ReserveStock, GetStock],
      publishes: [StockReceived],
    });
    expect(manifest.answers).toEqual([ReserveStock, GetStock]);
    expect(defineService({ name: 'orders', standsInFor: [Ping] }).answers).toEqual([Ping]);
  });

  it('reports everything inconsistent at once', () => {
    expect(() =>
      defineService({
        name: 'orders',
        handles: [ReserveStock, StockReceived],
        calls: [GetStock, GetStock],
        reacts: { 'Bad Name': { events: [] } },
      }),
    ).toThrow(
      [
        'The manifest of service "orders" is not consistent:',
        'handles: inventory.ReserveStock.v1 belongs to inventory',
        'handles: inventory.StockReceived.v1 is a event',
        'handles: inventory.StockReceived.v1 belongs to inventory',
        'calls: inventory.GetStock.v2 is listed twice',
        'reacts: "Bad Name" must be kebab-case',
        'reacts.Bad Name: lists no event',
      ].join('\n- '),
    );
  });
});
