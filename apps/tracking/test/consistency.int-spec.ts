import type { OrderVersion } from '@flotilla/contracts-tracking';
import { GetOrder, ListOrders } from '@flotilla/contracts-tracking';
import { newId } from '@flotilla/kernel';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { TrackingConfig } from '../src/tracking.config.ts';
import { TrackingModule } from '../src/tracking.module.ts';
import { completed, confirmed, placed, shipped } from './order-events.ts';

let tracking: TestService;
beforeAll(async () => {
  tracking = await startTestService({
    module: TrackingModule,
    config: TrackingConfig,
    // A reader that has to be sent away is not waited for longer than it must be.
    env: { TRACKING_CONSISTENCY_WAIT_MS: '1500' },
  });
});
afterAll(() => tracking.stop());

const get = (orderId: string, version: number, customerId?: string) =>
  tracking.query(new GetOrder({ orderId, customerId, atLeast: [{ orderId, version }] }));
const notCaughtUp = { code: 'NotCaughtUp', data: { waitedMs: expect.any(Number) as number } };

describe('a reader of its own write', () => {
  it('waits until the view shows it', async () => {
    const orderId = newId();
    const seen = get(orderId, 3);
    for (const event of [placed(orderId), confirmed(orderId), shipped(orderId)])
      await tracking.publish(event);
    expect((await seen).status).toBe('shipped');
    // What is there is not waited for.
    expect((await get(orderId, 2)).status).toBe('shipped');
  });

  it('waits for all that came before it, too', async () => {
    const orderId = newId();
    await tracking.publish(placed(orderId));
    const seen = get(orderId, 3);
    await tracking.publish(shipped(orderId));
    await tracking.publish(completed(orderId));
    await tracking.publish(confirmed(orderId));
    expect((await seen).timeline.length).toBeGreaterThanOrEqual(3);
  });

  it('sees it in lists as well', async () => {
    const customerId = `c-${newId()}`;
    const ids = [newId(), newId()];
    const atLeast: OrderVersion[] = ids.map((orderId) => ({ orderId, version: 1 }));
    const list = tracking.query(new ListOrders({ customerId, atLeast }));
    for (const orderId of ids) await tracking.publish(placed(orderId, customerId));
    expect((await list).orders.map(({ orderId }) => orderId).sort()).toEqual([...ids].sort());
  });

  it('is sent away when the view does not get there in time', async () => {
    const orderId = newId();
    await tracking.publish(placed(orderId));
    await expect(get(orderId, 2)).rejects.toMatchObject(notCaughtUp);
    await expect(
      tracking.query(new ListOrders({ atLeast: [{ orderId, version: 2 }] })),
    ).rejects.toMatchObject(notCaughtUp);
    expect((await get(orderId, 1)).status).toBe('pending');
  });

  it("does not learn from it that another's order exists", async () => {
    const orderId = newId();
    await tracking.publish(placed(orderId, 'c-owner'));
    expect(await get(orderId, 1, 'c-owner')).toMatchObject({ orderId });
    await expect(get(orderId, 1, 'c-other')).rejects.toMatchObject(notCaughtUp);
    await expect(get(newId(), 1, 'c-other')).rejects.toMatchObject(notCaughtUp);
  });

  it('sees what any replica has written', async () => {
    const replica = await tracking.startReplica();
    const orders = Array.from({ length: 20 }, () => newId());
    const reads = orders.map((orderId) => get(orderId, 1));
    for (const orderId of orders) await tracking.publish(placed(orderId));
    expect((await Promise.all(reads)).map(({ orderId }) => orderId)).toEqual(orders);
    await replica.stop();
  });
});
