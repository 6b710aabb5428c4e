import {
  OrderRejected,
  OrderReturnClosed,
  OrderReturned,
  OrderReturnRequested,
} from '@flotilla/contracts-orders';
import { PaymentAuthorised, PaymentCaptured, PaymentRefunded } from '@flotilla/contracts-payments';
import type { AnyMessage } from '@flotilla/contracts-protocol';
import { GetOrder, GetTimeline, ListOrders } from '@flotilla/contracts-tracking';
import { newId } from '@flotilla/kernel';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { TrackingConfig } from '../src/tracking.config.ts';
import { TrackingModule } from '../src/tracking.module.ts';
import { completed, confirmed, fact, money, placed, shipped } from './order-events.ts';

let tracking: TestService;
beforeAll(async () => {
  tracking = await startTestService({ module: TrackingModule, config: TrackingConfig });
});
afterAll(() => tracking.stop());

const publish = async (...events: AnyMessage[]): Promise<void> => {
  for (const event of events) await tracking.publish(event);
};
const view = (orderId: string) => tracking.query(new GetOrder({ orderId }));
const projected = (orderId: string, entries: number) =>
  until(
    async () =>
      (await tracking.sql('SELECT 1 FROM timeline_entries WHERE order_id = $1', [orderId])).length ===
      entries,
    { describe: `${entries} timeline entries of ${orderId}` },
  );

describe('the view of an order', () => {
  it('follows its events', async () => {
    const orderId = newId();
    const paymentId = newId();
    await publish(
      placed(orderId),
      new PaymentAuthorised({ paymentId, orderId, amount: money(1_530) }),
      confirmed(orderId),
      new PaymentCaptured({ paymentId, orderId, amount: money(1_530) }),
      shipped(orderId),
      completed(orderId),
      new PaymentRefunded({ paymentId, orderId, amount: money(30), refundKey: 'k-1', reason: 'late' }),
    );
    await until(
      async () => (await view(orderId).catch(() => undefined))?.payment.refunded.amountMinor === 30,
      {
        describe: 'the refund is seen',
      },
    );
    await projected(orderId, 4);
    expect(await view(orderId)).toMatchObject({
      status: 'completed',
      reference: '536365',
      total: money(1_530),
      trackingNumber: 'T-1',
      payment: { authorised: money(1_530), captured: money(1_530), refunded: money(30) },
      placedAt: '2026-01-02T03:04:01.000Z',
      updatedAt: '2026-01-02T03:04:04.000Z',
    });
    const { entries, status } = await tracking.query(new GetTimeline({ orderId, after: 2 }));
    expect(status).toBe('completed');
    expect(entries.map(({ position, event }) => [position, event])).toEqual([
      [3, 'OrderShipped'],
      [4, 'OrderCompleted'],
    ]);
    // A client may send any number as the id of its last event.
    const beyond = await tracking.query(new GetTimeline({ orderId, after: Number.MAX_SAFE_INTEGER }));
    expect(beyond).toMatchObject({ status: 'completed', entries: [] });
  });

  it('is the same when the events come late, twice and in another order', async () => {
    const orderId = newId();
    await publish(completed(orderId), shipped(orderId), completed(orderId));
    await projected(orderId, 2);
    // Before it is placed there is nothing to show.
    await expect(view(orderId)).rejects.toMatchObject({ code: 'OrderNotFound' });
    await publish(placed(orderId));
    await projected(orderId, 3);
    // The gap at position 2 holds back what lies behind it.
    expect(
      (await tracking.query(new GetTimeline({ orderId }))).entries.map(({ position }) => position),
    ).toEqual([1]);
    await publish(confirmed(orderId), confirmed(orderId));
    await projected(orderId, 4);
    const seen = await view(orderId);
    expect(seen.status).toBe('completed');
    expect(seen.timeline.map(({ status }) => status)).toEqual([
      'pending',
      'confirmed',
      'shipped',
      'completed',
    ]);
  });

  it('tells why an order was rejected', async () => {
    const orderId = newId();
    await publish(
      placed(orderId),
      new OrderRejected({ ...fact(orderId, 2), reason: 'out_of_stock', detail: 'A: 2 of 6' }),
    );
    await projected(orderId, 2);
    expect(await view(orderId)).toMatchObject({ status: 'rejected', rejectionReason: 'out_of_stock' });
  });

  it("is nobody else's", async () => {
    const orderId = newId();
    await publish(placed(orderId, 'c-owner'));
    await projected(orderId, 1);
    await expect(tracking.query(new GetOrder({ orderId, customerId: 'c-other' }))).rejects.toMatchObject({
      code: 'OrderNotFound',
    });
    expect(await tracking.query(new GetOrder({ orderId, customerId: 'c-owner' }))).toMatchObject({ orderId });
  });
});

describe('the list of orders', () => {
  it('pages through all of a customer, the newest first, without a gap or a repetition', async () => {
    const customerId = `c-${newId()}`;
    const ids = Array.from({ length: 5 }, () => newId());
    for (const orderId of ids) await publish(placed(orderId, customerId));
    await Promise.all(ids.map((orderId) => projected(orderId, 1)));
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await tracking.query(new ListOrders({ customerId, limit: 2, cursor }));
      expect(page.orders.length).toBeLessThanOrEqual(2);
      seen.push(...page.orders.map(({ orderId }) => orderId));
      cursor = page.nextCursor;
    } while (cursor !== undefined);
    expect(seen).toEqual([...ids].sort().reverse());
    expect((await tracking.query(new ListOrders({ customerId, status: 'completed' }))).orders).toEqual([]);
  });

  it('refuses a cursor that it did not give', async () => {
    await expect(tracking.query(new ListOrders({ cursor: 'nonsense' }))).rejects.toMatchObject({
      code: 'InvalidCursor',
    });
  });
});

describe('what comes back of an order', () => {
  const lines = (quantity: number) => [{ sku: 'A', quantity, unitPriceMinor: 255, damaged: false }];
  const of = (orderId: string, version: number, returnId: string, quantity: number) => ({
    ...fact(orderId, version),
    returnId,
    lines: lines(quantity),
    refund: money(quantity * 255),
  });

  it('is seen in its lines, its returns and its timeline, whatever order the events come in', async () => {
    const orderId = newId();
    const [first, second] = [newId(), newId()];
    const events = [
      placed(orderId),
      confirmed(orderId),
      shipped(orderId),
      completed(orderId),
      new OrderReturnRequested(of(orderId, 5, first, 2)),
      new OrderReturnRequested(of(orderId, 6, second, 1)),
      new OrderReturned(of(orderId, 7, first, 2)),
      new OrderReturnClosed({
        ...of(orderId, 8, second, 1),
        outcome: 'expired',
        detail: 'the goods did not come back in time',
      }),
    ];
    for (const event of [...events].reverse()) await publish(event);
    await projected(orderId, 8);
    const seen = await view(orderId);
    expect(seen).toMatchObject({ status: 'completed', lines: [{ sku: 'A', quantity: 6, returned: 2 }] });
    expect(seen.returns).toEqual([
      {
        returnId: first,
        status: 'completed',
        lines: lines(2),
        refund: money(510),
        requestedAt: fact(orderId, 5).at,
        endedAt: fact(orderId, 7).at,
      },
      {
        returnId: second,
        status: 'expired',
        lines: lines(1),
        refund: money(255),
        requestedAt: fact(orderId, 6).at,
        endedAt: fact(orderId, 8).at,
      },
    ]);
    expect(seen.timeline.slice(4).map(({ event, status, detail }) => [event, status, detail])).toEqual([
      ['OrderReturnRequested', 'completed', '2 x A'],
      ['OrderReturnRequested', 'completed', '1 x A'],
      ['OrderReturned', 'completed', '2 x A'],
      ['OrderReturnClosed', 'completed', 'expired: the goods did not come back in time'],
    ]);
  });

  it('is nothing for an order without returns', async () => {
    const orderId = newId();
    await publish(placed(orderId));
    await projected(orderId, 1);
    expect(await view(orderId)).not.toHaveProperty('returns');
  });
});
