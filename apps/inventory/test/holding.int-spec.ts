import {
  GetStock,
  ReceiveReturn,
  ReceiveStock,
  ReleaseStock,
  ReserveStock,
  StockReservationExpired,
  StockReturned,
  StockShipped,
} from '@flotilla/contracts-inventory';
import type { PayloadOf } from '@flotilla/contracts-protocol';
import { ShipmentDispatched } from '@flotilla/contracts-shipping';
import { newId } from '@flotilla/kernel';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { uniqueName, until } from '@flotilla/testing';
import { InventoryConfig } from '../src/inventory.config.ts';
import { InventoryModule } from '../src/inventory.module.ts';
import { FakeOrders } from './fake-orders.ts';

let inventory: TestService;
let orders: FakeOrders;

beforeAll(async () => {
  inventory = await startTestService({
    module: InventoryModule,
    config: InventoryConfig,
    env: { INVENTORY_EXPIRY_INTERVAL_MS: '50' },
  });
  // Both look: what one of them has taken, the other leaves alone.
  await inventory.startReplica();
  orders = new FakeOrders(inventory.broker);
  await orders.start();
});
afterAll(() => inventory.stop());

async function stocked(quantity: number): Promise<string> {
  const sku = uniqueName('sku');
  await inventory.execute(new ReceiveStock({ sku, quantity }));
  return sku;
}

const levels = async (sku: string): Promise<number[]> => {
  const { onHand, reserved, shipped, received, restocked } = await inventory.query(new GetStock({ sku }));
  return [onHand, reserved, shipped, received, restocked];
};

describe('a reservation that is held for a time', () => {
  const hold = async (sku: string, holdMs: number, quantity = 4): Promise<string> => {
    const orderId = newId();
    orders.statuses.set(orderId, 'pending');
    const answer = await inventory.send(new ReserveStock({ orderId, lines: [{ sku, quantity }], holdMs }));
    expect(answer).toMatchObject({ outcome: 'ok', reply: { orderId } });
    return orderId;
  };
  const expired = (orderId: string) =>
    inventory.events(StockReservationExpired).filter(({ payload }) => payload.orderId === orderId);

  it('says until when, and says the same when it is asked again', async () => {
    const sku = await stocked(10);
    const orderId = newId();
    const ask = () =>
      inventory.send(new ReserveStock({ orderId, lines: [{ sku, quantity: 1 }], holdMs: 3_600_000 }));
    const first = await ask();
    expect(first).toMatchObject({ reply: { heldUntil: expect.stringMatching(/^\d{4}-.*Z$/) as string } });
    expect(await ask()).toEqual(first);
  });

  it('is given back, once, when its order was not confirmed', async () => {
    const sku = await stocked(10);
    const orderId = await hold(sku, 50);
    await until(() => expired(orderId).length > 0, { describe: 'the reservation has ended' });
    expect(await levels(sku)).toEqual([10, 0, 0, 10, 0]);
    expect(expired(orderId).map(({ payload }) => payload)).toEqual([
      { orderId, lines: [{ sku, quantity: 4 }], heldUntil: expect.any(String) as string },
    ]);
    // What comes after is as after a release.
    const again = new ReserveStock({ orderId, lines: [{ sku, quantity: 4 }], holdMs: 50 });
    expect(await inventory.send(again)).toMatchObject({ outcome: 'refused', code: 'AlreadyReleased' });
    expect(await inventory.send(new ReleaseStock({ orderId, reason: 'late' }))).toEqual({
      outcome: 'ok',
      reply: { released: true },
    });
    expect(await levels(sku)).toEqual([10, 0, 0, 10, 0]);
  });

  it('is given back when there is no such order', async () => {
    const sku = await stocked(10);
    const orderId = newId();
    await inventory.send(new ReserveStock({ orderId, lines: [{ sku, quantity: 4 }], holdMs: 50 }));
    await until(() => expired(orderId).length > 0);
  });

  it('of a confirmed order is held for good, and ships', async () => {
    const sku = await stocked(10);
    const orderId = newId();
    orders.statuses.set(orderId, 'confirmed');
    await inventory.send(new ReserveStock({ orderId, lines: [{ sku, quantity: 4 }], holdMs: 50 }));
    await until(
      async () =>
        (await inventory.sql('SELECT FROM reservations WHERE order_id = $1 AND look_at IS NULL', [orderId]))
          .length === 1,
      { describe: 'the reservation is firm' },
    );
    expect(orders.asked.get(orderId)).toBe(1);
    expect(await levels(sku)).toEqual([6, 4, 0, 10, 0]);
    await ship(orderId);
    expect(await levels(sku)).toEqual([6, 0, 4, 10, 0]);
  });

  it('is not given back while orders cannot be asked', async () => {
    await orders.stop();
    const sku = await stocked(10);
    const orderId = await hold(sku, 50);
    // It was looked at, and is looked at again later.
    await until(
      async () =>
        (
          await inventory.sql(
            `SELECT FROM reservations WHERE order_id = $1 AND look_at > held_until + interval '30 seconds'`,
            [orderId],
          )
        ).length === 1,
      { describe: 'the reservation was looked at' },
    );
    await orders.start();
    expect(await levels(sku)).toEqual([6, 4, 0, 10, 0]);
    await inventory.sql('UPDATE reservations SET look_at = now() WHERE order_id = $1', [orderId]);
    await until(() => expired(orderId).length > 0);
    expect(await levels(sku)).toEqual([10, 0, 0, 10, 0]);
  });

  it('is one of many: each ends once, and stock is right', async () => {
    const sku = await stocked(500);
    const held = await Promise.all(Array.from({ length: 60 }, () => hold(sku, 20, 1)));
    await until(() => held.every((orderId) => expired(orderId).length > 0), { timeoutMs: 20_000 });
    expect(held.map((orderId) => expired(orderId).length)).toEqual(held.map(() => 1));
    expect(await levels(sku)).toEqual([500, 0, 0, 500, 0]);
  });
});

/** Returns the id of the dispatch. */
async function ship(orderId: string): Promise<string> {
  const id = newId();
  await inventory.publish(
    new ShipmentDispatched({
      shipmentId: newId(),
      orderId,
      trackingNumber: 'TRK-1',
      dispatchedAt: new Date().toISOString(),
    }),
    { id },
  );
  await until(() => inventory.events(StockShipped).some(({ payload }) => payload.orderId === orderId));
  return id;
}

describe('what comes back', () => {
  const shipped = async (quantity: number): Promise<{ sku: string; orderId: string }> => {
    const sku = await stocked(10);
    const orderId = newId();
    await inventory.send(new ReserveStock({ orderId, lines: [{ sku, quantity }] }));
    await ship(orderId);
    return { sku, orderId };
  };
  const back = (orderId: string, lines: PayloadOf<ReceiveReturn>['lines'], returnKey: string = newId()) =>
    inventory.send(new ReceiveReturn({ orderId, returnKey, lines }));
  const piece = (sku: string, quantity: number, damaged = false) => ({ sku, quantity, damaged });

  it('is on hand again, but for what is damaged', async () => {
    const { sku, orderId } = await shipped(5);
    const answer = await back(orderId, [piece(sku, 2), piece(sku, 1, true)], 'r-1');
    expect(answer).toEqual({ outcome: 'ok', reply: { restocked: 2, damaged: 1 } });
    expect(await levels(sku)).toEqual([7, 0, 5, 10, 2]);
    expect(await back(orderId, [piece(sku, 2), piece(sku, 1, true)], 'r-1')).toEqual(answer);
    expect(await levels(sku)).toEqual([7, 0, 5, 10, 2]);
    const events = await until(() => {
      const found = inventory.events(StockReturned).filter(({ payload }) => payload.orderId === orderId);
      return found.length > 0 && found;
    });
    expect(events).toHaveLength(1);
    // What is back can be sold again.
    const next = await inventory.send(new ReserveStock({ orderId: newId(), lines: [{ sku, quantity: 7 }] }));
    expect(next).toMatchObject({ outcome: 'ok' });
  });

  it('is never more than left, also at the same time in two processes', async () => {
    const { sku, orderId } = await shipped(5);
    const answers = await Promise.all(Array.from({ length: 9 }, () => back(orderId, [piece(sku, 1)])));
    expect(answers.filter(({ outcome }) => outcome === 'ok')).toHaveLength(5);
    expect(answers.find(({ outcome }) => outcome !== 'ok')).toEqual({
      outcome: 'refused',
      code: 'ExceedsShipped',
      data: { lines: [{ sku, requested: 1, shipped: 0 }] },
    });
    expect(await levels(sku)).toEqual([10, 0, 5, 10, 5]);
  });

  it('of an order that never left is refused', async () => {
    const sku = await stocked(10);
    const orderId = newId();
    await inventory.send(new ReleaseStock({ orderId, reason: 'test' }));
    expect(await back(orderId, [piece(sku, 1)])).toMatchObject({ outcome: 'refused', code: 'NotShipped' });
  });

  it('before its dispatch is heard of has left all the same, and the dispatch changes nothing more', async () => {
    const [sku, other] = [await stocked(10), await stocked(10)];
    const orderId = newId();
    const lines = [
      { sku, quantity: 3 },
      { sku: other, quantity: 2 },
    ];
    await inventory.send(new ReserveStock({ orderId, lines }));
    expect(await back(orderId, [piece(sku, 3)])).toEqual({
      outcome: 'ok',
      reply: { restocked: 3, damaged: 0 },
    });
    const id = await ship(orderId);
    await until(
      async () => (await inventory.sql('SELECT FROM inbox WHERE message_id = $1', [id])).length > 0,
      { describe: 'the dispatch is handled' },
    );
    expect(await levels(sku)).toEqual([10, 0, 3, 10, 3]);
    expect(await levels(other)).toEqual([8, 0, 2, 10, 0]);
    const shipped = inventory.events(StockShipped).filter(({ payload }) => payload.orderId === orderId);
    expect(shipped).toHaveLength(1);
  });
});
