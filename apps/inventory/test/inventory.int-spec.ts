import { ProductDefined } from '@flotilla/contracts-catalog';
import {
  GetStock,
  ReceiveStock,
  ReleaseStock,
  ReserveStock,
  StockReceived,
  StockReleased,
  StockReserved,
  StockShipped,
  type StockLevels,
  type StockLine,
} from '@flotilla/contracts-inventory';
import { ShipmentDispatched } from '@flotilla/contracts-shipping';
import { newId } from '@flotilla/kernel';
import { DeadLetters, NatsBroker, type DeadLetter } from '@flotilla/messaging';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { uniqueName, until } from '@flotilla/testing';
import { InventoryConfig } from '../src/inventory.config.ts';
import { InventoryModule } from '../src/inventory.module.ts';

let inventory: TestService;

beforeAll(async () => {
  inventory = await startTestService({
    module: InventoryModule,
    config: InventoryConfig,
    env: { RETRY_INITIAL_MS: '50', RETRY_MAX_MS: '800' },
    // What waits for another message does so for three of these.
    topology: { ackWaitMs: 1_000 },
  });
});

afterAll(() => inventory.stop());

async function stocked(...quantities: number[]): Promise<string[]> {
  const skus = quantities.map(() => uniqueName('sku'));
  for (const [at, sku] of skus.entries()) {
    await inventory.execute(new ReceiveStock({ sku, quantity: quantities[at] ?? 0 }));
  }
  return skus;
}

const levels = async (sku: string): Promise<number[]> => {
  const { onHand, reserved, shipped, received }: StockLevels = await inventory.query(new GetStock({ sku }));
  return [onHand, reserved, shipped, received];
};

const reserve = (orderId: string, lines: StockLine[]) => inventory.send(new ReserveStock({ orderId, lines }));
const release = (orderId: string) => inventory.send(new ReleaseStock({ orderId, reason: 'test' }));
const dispatched = (orderId: string): ShipmentDispatched =>
  new ShipmentDispatched({
    shipmentId: newId(),
    orderId,
    trackingNumber: 'TRK-1',
    dispatchedAt: new Date().toISOString(),
  });

/** The events of a type about one order. */
const about = (type: typeof StockReserved | typeof StockReleased | typeof StockShipped, orderId: string) =>
  inventory.events(type).filter(({ payload }) => payload.orderId === orderId);

async function deadLetterOf(orderId: string): Promise<DeadLetter> {
  const { broker } = inventory;
  if (!(broker instanceof NatsBroker)) throw new Error('the harness has another broker than it says');
  const deadLetters = new DeadLetters(broker.connection);
  return until(
    async () => (await deadLetters.list({ limit: 100 })).find(({ subject }) => subject === orderId),
    { describe: `the dead letter of ${orderId}` },
  );
}

describe('receiving stock', () => {
  it('adds it up and tells the levels', async () => {
    const sku = uniqueName('sku');
    expect(await inventory.execute(new ReceiveStock({ sku, quantity: 5 }))).toEqual({
      sku,
      onHand: 5,
      reserved: 0,
      shipped: 0,
      received: 5,
      restocked: 0,
    });
    expect(await inventory.execute(new ReceiveStock({ sku, quantity: 7 }))).toMatchObject({
      onHand: 12,
      received: 12,
    });
    const events = await until(() => {
      const received = inventory.events(StockReceived).filter(({ payload }) => payload.sku === sku);
      return received.length === 2 && received;
    });
    expect(events.map(({ payload }) => [payload.quantity, payload.levels.onHand])).toEqual([
      [5, 5],
      [7, 12],
    ]);
  });

  it('books the same receipt once', async () => {
    const sku = uniqueName('sku');
    const id = newId();
    const receipt = new ReceiveStock({ sku, quantity: 5 });
    const first = await inventory.send(receipt, { id });
    expect(await inventory.send(receipt, { id })).toEqual(first);
    expect(await levels(sku)).toEqual([5, 0, 0, 5]);
  });

  it('refuses a charge, whatever the order of its definitions', async () => {
    const sku = uniqueName('POST');
    const product = {
      sku,
      name: 'Postage',
      kind: 'charge' as const,
      price: { amountMinor: 1, currency: 'GBP' },
    };
    await inventory.publish(new ProductDefined({ ...product, version: 2 }));
    await inventory.publish(new ProductDefined({ ...product, version: 1 }));
    await until(
      async () => (await inventory.sql('SELECT FROM product_kinds WHERE sku = $1', [sku])).length === 1,
    );
    await expect(inventory.execute(new ReceiveStock({ sku, quantity: 1 }))).rejects.toMatchObject({
      code: 'NotStocked',
      data: { sku },
    });
    await expect(inventory.query(new GetStock({ sku }))).rejects.toMatchObject({ code: 'SkuNotFound' });
  });
});

describe('reserving stock', () => {
  it('takes all lines, a SKU that comes twice with its sum', async () => {
    const [a = '', b = ''] = await stocked(10, 10);
    const orderId = newId();
    const lines = [
      { sku: b, quantity: 1 },
      { sku: a, quantity: 2 },
      { sku: b, quantity: 3 },
    ];
    expect(await reserve(orderId, lines)).toEqual({ outcome: 'ok', reply: { orderId } });
    expect([await levels(a), await levels(b)]).toEqual([
      [8, 2, 0, 10],
      [6, 4, 0, 10],
    ]);
    const [event] = await until(
      () => about(StockReserved, orderId).length > 0 && about(StockReserved, orderId),
    );
    expect(event?.payload.lines).toEqual(
      [
        { sku: a, quantity: 2 },
        { sku: b, quantity: 4 },
      ].sort((x, y) => (x.sku < y.sku ? -1 : 1)),
    );
  });

  it('takes nothing when one line is short, and names every one that is', async () => {
    const [plenty = '', few = ''] = await stocked(10, 3);
    const unknown = uniqueName('unknown');
    const answer = await reserve(newId(), [
      { sku: plenty, quantity: 10 },
      { sku: few, quantity: 2 },
      { sku: unknown, quantity: 1 },
      { sku: few, quantity: 2 },
    ]);
    expect(answer).toMatchObject({ outcome: 'refused', code: 'OutOfStock' });
    const { shortages } = (answer as { data: { shortages: { sku: string }[] } }).data;
    expect(shortages.sort((x, y) => (x.sku < y.sku ? -1 : 1))).toEqual(
      [
        { sku: few, requested: 4, available: 3 },
        { sku: unknown, requested: 1, available: 0 },
      ].sort((x, y) => (x.sku < y.sku ? -1 : 1)),
    );
    expect([await levels(plenty), await levels(few)]).toEqual([
      [10, 0, 0, 10],
      [3, 0, 0, 3],
    ]);
  });

  it('lets an order that was short try again', async () => {
    const [sku = ''] = await stocked(1);
    const orderId = newId();
    expect(await reserve(orderId, [{ sku, quantity: 2 }])).toMatchObject({ code: 'OutOfStock' });
    await inventory.execute(new ReceiveStock({ sku, quantity: 1 }));
    expect(await reserve(orderId, [{ sku, quantity: 2 }])).toMatchObject({ outcome: 'ok' });
    expect(await levels(sku)).toEqual([0, 2, 0, 2]);
  });

  it('answers the same order as before, without taking more', async () => {
    const [sku = ''] = await stocked(10);
    const orderId = newId();
    const lines = [{ sku, quantity: 4 }];
    const first = await reserve(orderId, lines);
    expect(await reserve(orderId, lines)).toEqual(first);
    await Promise.all([reserve(orderId, lines), reserve(orderId, lines)]);
    expect(await levels(sku)).toEqual([6, 4, 0, 10]);
    expect(about(StockReserved, orderId)).toHaveLength(1);
  });

  it('takes a thousand lines', async () => {
    const skus = Array.from({ length: 1_000 }, () => uniqueName('many'));
    await inventory.sql(
      `INSERT INTO stock (sku, on_hand, reserved, shipped, received)
       SELECT sku, 2, 0, 0, 2 FROM unnest($1::text[]) AS line(sku)`,
      [skus],
    );
    const orderId = newId();
    const lines = skus.map((sku) => ({ sku, quantity: 2 }));
    expect(await reserve(orderId, lines)).toMatchObject({ outcome: 'ok' });
    const refused = await reserve(newId(), lines);
    expect((refused as { data: { shortages: unknown[] } }).data.shortages).toHaveLength(1_000);
    expect(await release(orderId)).toEqual({ outcome: 'ok', reply: { released: true } });
    const [sum] = await inventory.sql<{ free: number }>(
      'SELECT sum(on_hand)::int AS free FROM stock WHERE sku = ANY($1)',
      [skus],
    );
    expect(sum?.free).toBe(2_000);
  });
});

describe('releasing stock', () => {
  it('gives back what the order held, once', async () => {
    const [sku = ''] = await stocked(10);
    const orderId = newId();
    await reserve(orderId, [{ sku, quantity: 4 }]);
    expect(await release(orderId)).toEqual({ outcome: 'ok', reply: { released: true } });
    expect(await release(orderId)).toEqual({ outcome: 'ok', reply: { released: true } });
    expect(await levels(sku)).toEqual([10, 0, 0, 10]);
    await until(() => about(StockReleased, orderId).length > 0);
    expect(about(StockReleased, orderId).map(({ payload }) => payload)).toEqual([
      { orderId, lines: [{ sku, quantity: 4 }], reason: 'test' },
    ]);
  });

  it('keeps a reservation that comes too late from holding anything', async () => {
    const [sku = ''] = await stocked(10);
    const orderId = newId();
    expect(await release(orderId)).toEqual({ outcome: 'ok', reply: { released: false } });
    expect(await release(orderId)).toEqual({ outcome: 'ok', reply: { released: false } });
    expect(await reserve(orderId, [{ sku, quantity: 4 }])).toEqual({
      outcome: 'refused',
      code: 'AlreadyReleased',
      data: { orderId },
    });
    expect(await levels(sku)).toEqual([10, 0, 0, 10]);
  });

  it('is too late when the goods have left', async () => {
    const [sku = ''] = await stocked(10);
    const orderId = newId();
    await reserve(orderId, [{ sku, quantity: 4 }]);
    await inventory.publish(dispatched(orderId));
    await until(() => about(StockShipped, orderId).length > 0);
    expect(await release(orderId)).toEqual({ outcome: 'refused', code: 'AlreadyShipped', data: { orderId } });
    expect(await levels(sku)).toEqual([6, 0, 4, 10]);
  });
});

describe('a dispatch', () => {
  it('moves what the order held out of the warehouse, once', async () => {
    const [a = '', b = ''] = await stocked(10, 10);
    const orderId = newId();
    const lines = [
      { sku: a, quantity: 4 },
      { sku: b, quantity: 10 },
    ];
    await reserve(orderId, lines);
    const ids = [newId(), newId()];
    for (const id of ids) await inventory.publish(dispatched(orderId), { id });
    await until(() => about(StockShipped, orderId).length > 0);
    await until(
      async () => (await inventory.sql('SELECT FROM inbox WHERE message_id = ANY($1)', [ids])).length === 2,
    );
    expect(await reserve(orderId, lines)).toMatchObject({ outcome: 'ok' });
    expect([await levels(a), await levels(b)]).toEqual([
      [6, 0, 4, 10],
      [0, 0, 10, 10],
    ]);
    expect(about(StockShipped, orderId)).toHaveLength(1);
  });

  it('of a released order goes to the dead letters at once', async () => {
    const [sku = ''] = await stocked(10);
    const orderId = newId();
    await reserve(orderId, [{ sku, quantity: 4 }]);
    await release(orderId);
    await inventory.publish(dispatched(orderId));
    const letter = await deadLetterOf(orderId);
    expect(letter).toMatchObject({ errorCode: 'UNRESERVED_DISPATCH', attempts: 1 });
    expect(await levels(sku)).toEqual([10, 0, 0, 10]);
  });

  it('of an order without reservation is tried again, then goes to the dead letters', async () => {
    const orderId = newId();
    await inventory.publish(dispatched(orderId));
    const letter = await deadLetterOf(orderId);
    expect(letter).toMatchObject({ errorCode: 'UNRESERVED_DISPATCH' });
    // It waited here all the time.
    expect(letter.attempts).toBe(1);
    expect(letter.history.length).toBeGreaterThan(2);
  });

  it('before its reservation waits for it', async () => {
    const [sku = ''] = await stocked(10);
    const orderId = newId();
    await inventory.publish(dispatched(orderId));
    await reserve(orderId, [{ sku, quantity: 4 }]);
    await until(() => about(StockShipped, orderId).length > 0);
    expect(await levels(sku)).toEqual([6, 0, 4, 10]);
  });
});

describe('the stock table', () => {
  it('refuses pieces that are nowhere, or less than none', async () => {
    const [sku = ''] = await stocked(1);
    await expect(inventory.sql('UPDATE stock SET on_hand = 2 WHERE sku = $1', [sku])).rejects.toMatchObject({
      constraint: 'every_piece_is_somewhere',
    });
    await expect(
      inventory.sql('UPDATE stock SET on_hand = -1, reserved = 2 WHERE sku = $1', [sku]),
    ).rejects.toMatchObject({ code: '23514' });
  });
});
