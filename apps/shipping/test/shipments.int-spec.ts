import {
  CancelShipment,
  CreateShipment,
  GetShipment,
  ShipmentCancelled,
  ShipmentDelivered,
  ShipmentDispatched,
} from '@flotilla/contracts-shipping';
import { newId } from '@flotilla/kernel';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { ShippingConfig } from '../src/shipping.config.ts';
import { ShippingModule } from '../src/shipping.module.ts';

const start = (env: Record<string, string> = {}): Promise<TestService> =>
  startTestService({ module: ShippingModule, config: ShippingConfig, env });

const creation = (orderId: string): CreateShipment =>
  new CreateShipment({
    orderId,
    shipTo: { name: 'Ada', country: 'United Kingdom' },
    lines: [{ sku: '85123A', quantity: 6 }],
  });
const cancellation = (orderId: string): CancelShipment =>
  new CancelShipment({ orderId, reason: 'changed my mind' });

const times = <T>(count: number, action: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => action(index)));

describe('with a carrier that comes at once', () => {
  let service: TestService;
  beforeAll(async () => {
    service = await start();
  });
  afterAll(() => service.stop());

  const delivered = async (orderId: string): Promise<void> => {
    await until(() => service.events(ShipmentDelivered).some(({ payload }) => payload.orderId === orderId), {
      describe: `the delivery of order ${orderId}`,
    });
  };

  it('a shipment is dispatched and delivered, with its events', async () => {
    const orderId = newId();
    const { shipmentId } = await service.execute(creation(orderId));
    await delivered(orderId);
    const shipment = await service.query(new GetShipment({ orderId }));
    expect(shipment).toMatchObject({ shipmentId, orderId, status: 'delivered' });
    const { trackingNumber, dispatchedAt, deliveredAt } = shipment;
    const of = { shipmentId, orderId };
    expect(service.events(ShipmentDispatched).map(({ payload }) => payload)).toEqual([
      { ...of, trackingNumber, dispatchedAt },
    ]);
    expect(service.events(ShipmentDelivered).map(({ payload }) => payload)).toEqual([{ ...of, deliveredAt }]);
  });

  it('it does not wait for the next look of the job', async () => {
    const durations: number[] = [];
    for (let round = 0; round < 5; round += 1) {
      const orderId = newId();
      const startedMs = performance.now();
      await service.execute(creation(orderId));
      await delivered(orderId);
      durations.push(performance.now() - startedMs);
    }
    // The job looks by itself every second; five in a row that are faster were woken.
    expect(Math.max(...durations)).toBeLessThan(800);
  });

  it('it cannot be cancelled any more', async () => {
    const orderId = newId();
    await service.execute(creation(orderId));
    await delivered(orderId);
    const { dispatchedAt } = await service.query(new GetShipment({ orderId }));
    await expect(service.execute(cancellation(orderId))).rejects.toMatchObject({
      code: 'AlreadyDispatched',
      data: { orderId, dispatchedAt },
    });
  });

  it('a cancellation and the carrier that come at the same moment agree on one end', async () => {
    const ends = await times(40, async () => {
      const orderId = newId();
      const [created, cancelled] = await Promise.allSettled([
        service.execute(creation(orderId)),
        service.execute(cancellation(orderId)),
      ]);
      if (created.status === 'rejected') return { orderId, end: 'forestalled' };
      if (cancelled.status === 'rejected') return { orderId, end: 'delivered' };
      return { orderId, end: cancelled.value.cancelled ? 'cancelled' : 'forestalled' };
    });
    await Promise.all(ends.filter(({ end }) => end === 'delivered').map(({ orderId }) => delivered(orderId)));
    const rows = await service.sql<{ orderId: string; end: string }>(
      'SELECT order_id AS "orderId", status AS end FROM shipments WHERE order_id = ANY ($1::uuid[])',
      [ends.map(({ orderId }) => orderId)],
    );
    const byOrder = (a: { orderId: string }, b: { orderId: string }): number =>
      a.orderId.localeCompare(b.orderId);
    expect(rows.sort(byOrder)).toEqual(ends.sort(byOrder));
  });
});

describe('with a carrier that takes its time', () => {
  let service: TestService;
  beforeAll(async () => {
    service = await start({ SHIPPING_DISPATCH_DELAY_MS: '3600000' });
  });
  afterAll(() => service.stop());

  it('a shipment can be cancelled, once', async () => {
    const orderId = newId();
    const { shipmentId } = await service.execute(creation(orderId));
    expect(await service.query(new GetShipment({ orderId }))).toMatchObject({ status: 'created' });
    expect(await service.execute(cancellation(orderId))).toEqual({ cancelled: true });
    expect(await service.execute(cancellation(orderId))).toEqual({ cancelled: true });
    expect(await service.query(new GetShipment({ orderId }))).toMatchObject({
      shipmentId,
      status: 'cancelled',
    });
    await service.eventually(ShipmentCancelled);
    const payload = { shipmentId, orderId, reason: 'changed my mind' };
    expect(service.events(ShipmentCancelled).map((event) => event.payload)).toEqual([payload]);
    await expect(service.execute(creation(orderId))).rejects.toMatchObject({ code: 'AlreadyCancelled' });
  });

  it('a cancellation that comes first forestalls the shipment', async () => {
    const orderId = newId();
    expect(await service.execute(cancellation(orderId))).toEqual({ cancelled: false });
    expect(await service.execute(cancellation(orderId))).toEqual({ cancelled: false });
    await expect(service.execute(creation(orderId))).rejects.toMatchObject({
      code: 'AlreadyCancelled',
      data: { orderId },
    });
    await expect(service.query(new GetShipment({ orderId }))).rejects.toMatchObject({
      code: 'ShipmentNotFound',
    });
  });

  it('asked again, it answers as before', async () => {
    const orderId = newId();
    const id = newId();
    const first = await service.send(creation(orderId), { id });
    expect(await service.send(creation(orderId), { id })).toEqual(first);
    expect(await service.send(creation(orderId))).toEqual(first);
  });
});

it('parcels travel as long as the carrier says', async () => {
  await using service = await start({ SHIPPING_DISPATCH_DELAY_MS: '150', SHIPPING_DELIVERY_DELAY_MS: '100' });
  const orders = await times(3, async () => {
    const orderId = newId();
    await service.execute(creation(orderId));
    return orderId;
  });
  await service.eventually(ShipmentDelivered, 3);
  const rows = await service.sql<{ waited: number; travelled: number }>(
    `SELECT extract(epoch FROM dispatched_at - created_at)::float8 * 1000 AS waited,
            extract(epoch FROM delivered_at - dispatched_at)::float8 * 1000 AS travelled
       FROM shipments WHERE order_id = ANY ($1::uuid[])`,
    [orders],
  );
  for (const { waited, travelled } of rows) {
    // created_at is the transaction's start, a little before the booking; the clock of dispatched_at counts whole ms.
    expect(waited).toBeGreaterThan(145);
    expect(travelled).toBeGreaterThanOrEqual(100);
  }
});

it('two replicas share many shipments: each is moved once, many in one transaction', async () => {
  await using service = await start({ SHIPPING_BATCH_SIZE: '50' });
  await service.startReplica();
  const orders = Array.from({ length: 300 }, () => newId());
  await Promise.all(orders.map((orderId) => service.send(creation(orderId))));
  await service.eventually(ShipmentDelivered, 300);
  const ordersOf = (type: typeof ShipmentDispatched | typeof ShipmentDelivered): string[] =>
    service
      .events(type)
      .map(({ payload }) => payload.orderId)
      .sort();
  expect(ordersOf(ShipmentDispatched)).toEqual([...orders].sort());
  expect(ordersOf(ShipmentDelivered)).toEqual([...orders].sort());
  const [moves] = await service.sql<{ transactions: number }>(
    'SELECT count(DISTINCT dispatched_at)::int AS transactions FROM shipments',
  );
  expect(moves?.transactions).toBeLessThan(150);
});

it('what was due while no process ran, or no commit woke the job for, is found by its next look', async () => {
  await using service = await start({ SHIPPING_DISPATCH_DELAY_MS: '3600000' });
  const orderId = newId();
  await service.execute(creation(orderId));
  await service.sql('UPDATE shipments SET due_at = now() WHERE order_id = $1', [orderId]);
  await until(() => service.events(ShipmentDelivered).some(({ payload }) => payload.orderId === orderId), {
    describe: 'the delivery',
  });
});
