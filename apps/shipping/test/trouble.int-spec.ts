import {
  CancelReturnShipment,
  CancelShipment,
  CreateReturnShipment,
  CreateShipment,
  GetShipment,
  ReturnReceived,
  ShipmentDelivered,
  ShipmentDispatched,
  ShipmentFailed,
  ShipmentLost,
  ShipmentReturned,
} from '@flotilla/contracts-shipping';
import type { AnyMessageClass } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { startTestService, type RecordedEvent, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { ShippingConfig } from '../src/shipping.config.ts';
import { ShippingModule } from '../src/shipping.module.ts';

let service: TestService;
beforeAll(async () => {
  service = await startTestService({
    module: ShippingModule,
    config: ShippingConfig,
    env: { SHIPPING_ATTEMPTS: '3', SHIPPING_RETRY_INITIAL_MS: '20', SHIPPING_RETRY_MAX_MS: '50' },
  });
  await service.startReplica();
});
afterAll(() => service.stop());

const lines = [{ sku: '85123A', quantity: 6 }];
const create = async (name: string): Promise<string> => {
  const orderId = newId();
  await service.execute(new CreateShipment({ orderId, shipTo: { name, country: 'France' }, lines }));
  return orderId;
};
/** The events of a type about one order or return. */
const about = <M extends AnyMessageClass>(type: M, id: string): RecordedEvent<M>[] =>
  service
    .events(type)
    .filter(({ payload }) => Object.values(payload as Record<string, unknown>).includes(id));
const first = <M extends AnyMessageClass>(type: M, id: string): Promise<RecordedEvent<M>> =>
  until(() => about(type, id)[0], { describe: `${type.contract.name} of ${id}` });
const statusOf = async (orderId: string) => (await service.query(new GetShipment({ orderId }))).status;
const cancel = (orderId: string) => service.execute(new CancelShipment({ orderId, reason: 'test' }));

describe('a parcel', () => {
  it('that the carrier is late to collect and to deliver arrives all the same', async () => {
    const orderId = await create('carrier:late');
    await first(ShipmentDelivered, orderId);
    expect(about(ShipmentDispatched, orderId)).toHaveLength(1);
    expect(about(ShipmentFailed, orderId)).toEqual([]);
    expect(await service.query(new GetShipment({ orderId }))).toMatchObject({ status: 'delivered' });
  });

  it('that is never collected has failed after its attempts, and never left', async () => {
    const orderId = await create('carrier:no-collection');
    const { payload } = await first(ShipmentFailed, orderId);
    expect(payload).toMatchObject({ reason: 'the carrier did not collect it', attempts: 3 });
    expect(about(ShipmentDispatched, orderId)).toEqual([]);
    expect(await statusOf(orderId)).toBe('failed');
    expect(await cancel(orderId)).toEqual({ cancelled: false });
  });

  it('that cannot be delivered comes back after its attempts', async () => {
    const orderId = await create('carrier:undeliverable');
    const { payload } = await first(ShipmentReturned, orderId);
    expect(payload).toMatchObject({ reason: 'nobody could be found at the address', attempts: 3 });
    expect(about(ShipmentDispatched, orderId)).toHaveLength(1);
    expect(about(ShipmentDelivered, orderId)).toEqual([]);
    expect(await service.query(new GetShipment({ orderId }))).toMatchObject({
      status: 'returned',
      reason: 'nobody could be found at the address',
    });
    // Who does not know that it came back must not take it for stopped: nobody would put its goods on the shelf.
    await expect(cancel(orderId)).rejects.toMatchObject({ code: 'AlreadyDispatched' });
    const known = new CancelShipment({ orderId, reason: 'test', takenBack: true });
    expect(await service.execute(known)).toEqual({ cancelled: false });
  });

  it('that is lost says so, once', async () => {
    const orderId = await create('carrier:lost');
    const { payload } = await first(ShipmentLost, orderId);
    expect(payload).toMatchObject({ reason: 'the carrier does not know where it is' });
    expect(await statusOf(orderId)).toBe('lost');
    expect(await cancel(orderId)).toEqual({ cancelled: false });
  });

  it('is one of many: each has one end, whichever replica moves it', async () => {
    const names = ['carrier:undeliverable', 'carrier:no-collection', 'carrier:late', 'Ada'];
    const orders = await Promise.all(
      Array.from({ length: 40 }, (_, index) => create(names[index % names.length] ?? '')),
    );
    const ends = (orderId: string): number =>
      [ShipmentDelivered, ShipmentFailed, ShipmentReturned].reduce(
        (sum, type) => sum + about(type, orderId).length,
        0,
      );
    await until(() => orders.every((orderId) => ends(orderId) > 0), { timeoutMs: 20_000 });
    expect(orders.map(ends)).toEqual(orders.map(() => 1));
  });
});

describe('goods from a customer', () => {
  const fetch = (returnId: string, name = 'Ada', orderId: string = newId()) =>
    service.execute(
      new CreateReturnShipment({ returnId, orderId, shipFrom: { name, country: 'France' }, lines }),
    );
  const withdraw = (returnId: string) =>
    service.execute(new CancelReturnShipment({ returnId, orderId: newId(), reason: 'test' }));

  it('arrive, once, whoever asks how often', async () => {
    const [returnId, orderId] = [newId(), newId()];
    const booked = await fetch(returnId, 'Ada', orderId);
    expect(await fetch(returnId, 'Ada', orderId)).toEqual(booked);
    const { payload } = await first(ReturnReceived, returnId);
    expect(payload).toMatchObject({ shipmentId: booked.shipmentId, orderId, returnId });
    expect(await fetch(returnId, 'Ada', orderId)).toEqual(booked);
    expect(about(ReturnReceived, returnId)).toHaveLength(1);
    await expect(withdraw(returnId)).rejects.toMatchObject({
      code: 'AlreadyReceived',
      data: { returnId, receivedAt: payload.receivedAt },
    });
  });

  it('that do not come are no longer waited for', async () => {
    const returnId = newId();
    await fetch(returnId, 'carrier:return-lost');
    expect(await withdraw(returnId)).toEqual({ cancelled: true });
    expect(await withdraw(returnId)).toEqual({ cancelled: true });
    await expect(fetch(returnId)).rejects.toMatchObject({ code: 'AlreadyCancelled' });
  });

  it('are not fetched when nobody waits for them before they are asked for', async () => {
    const returnId = newId();
    expect(await withdraw(returnId)).toEqual({ cancelled: false });
    await expect(fetch(returnId)).rejects.toMatchObject({ code: 'AlreadyCancelled', data: { returnId } });
  });

  it('and their cancellation that come at the same moment agree on one end', async () => {
    const returns = Array.from({ length: 20 }, () => newId());
    const ends = await Promise.all(
      returns.map(async (returnId) => {
        const [booked, withdrawn] = await Promise.allSettled([fetch(returnId), withdraw(returnId)]);
        if (booked.status === 'rejected') return 'forestalled';
        if (withdrawn.status === 'rejected') return 'received';
        return withdrawn.value.cancelled ? 'cancelled' : 'forestalled';
      }),
    );
    await Promise.all(
      returns.filter((_, at) => ends[at] === 'received').map((returnId) => first(ReturnReceived, returnId)),
    );
    const rows = await service.sql<{ id: string; status: string }>(
      'SELECT return_id AS id, status FROM return_parcels WHERE return_id = ANY ($1::uuid[])',
      [returns],
    );
    const statuses = new Map(rows.map(({ id, status }) => [id, status]));
    expect(returns.map((returnId) => statuses.get(returnId))).toEqual(ends);
  });
});
