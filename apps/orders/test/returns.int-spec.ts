import { ProductDefined } from '@flotilla/contracts-catalog';
import { ReceiveReturn, ReleaseStock, ReserveStock } from '@flotilla/contracts-inventory';
import {
  DecideReview,
  FindOrder,
  ListReturns,
  OrderCancelled,
  OrderRejected,
  OrderReturnClosed,
  OrderReturned,
  OrderReturnRequested,
  PlaceOrder,
  RequestReturn,
  type OrderReturn,
} from '@flotilla/contracts-orders';
import { AuthorisePayment, CapturePayment, RefundPayment, VoidPayment } from '@flotilla/contracts-payments';
import type { AnyMessageClass, PayloadOf } from '@flotilla/contracts-protocol';
import {
  CancelReturnShipment,
  CreateReturnShipment,
  CreateShipment,
  ReturnReceived,
  ShipmentDelivered,
  ShipmentDispatched,
} from '@flotilla/contracts-shipping';
import { errorCode, newId } from '@flotilla/kernel';
import { withMessageId } from '@flotilla/service';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { OrdersConfig } from '../src/orders.config.ts';
import { OrdersModule } from '../src/orders.module.ts';

const money = (amountMinor: number) => ({ amountMinor, currency: 'GBP' });
const at = '2026-01-02T03:04:05.000Z';

async function start(env: Record<string, string> = {}): Promise<TestService> {
  const orders = await startTestService({ module: OrdersModule, config: OrdersConfig, env });
  const products = [
    { sku: 'A', name: 'Lantern', kind: 'stocked' as const, price: money(255), version: 1 },
    { sku: 'B', name: 'Heart', kind: 'stocked' as const, price: money(33), version: 1 },
    { sku: 'POST', name: 'Postage', kind: 'charge' as const, price: money(1_800), version: 1 },
  ];
  for (const product of products) await orders.publish(new ProductDefined(product));
  await until(async () => (await orders.sql('SELECT sku FROM products')).length === products.length);
  return orders;
}

/** What a test says to the service, and what it waits for. */
function conversationWith(orders: TestService) {
  const asked = <M extends AnyMessageClass>(type: M, id: string): Promise<{ payload: PayloadOf<M> }> =>
    until(
      () =>
        orders
          .commands(type)
          .find(({ payload }) => Object.values(payload as Record<string, unknown>).includes(id)),
      { describe: `${type.contract.type} for ${id}` },
    );
  const place = async (lines = [{ sku: 'A', quantity: 6 }]): Promise<string> => {
    const { orderId } = await orders.execute(
      new PlaceOrder({
        orderId: newId(),
        customerId: 'c-1',
        lines,
        paymentToken: 'tok_ok',
        shipTo: { name: 'Ada', country: 'France' },
      }),
    );
    return orderId;
  };
  const statusOf = async (orderId: string) => (await orders.query(new FindOrder({ orderId }))).status;
  const becomes = (orderId: string, status: string): Promise<unknown> =>
    until(async () => (await statusOf(orderId)) === status, { describe: `order ${orderId} is ${status}` });
  const complete = async (): Promise<string> => {
    const orderId = await place([
      { sku: 'A', quantity: 6 },
      { sku: 'B', quantity: 2 },
      { sku: 'POST', quantity: 1 },
    ]);
    await asked(ReserveStock, orderId);
    await orders.answer(ReserveStock, 'ok', { orderId });
    await asked(AuthorisePayment, orderId);
    await orders.answer(AuthorisePayment, 'ok', { paymentId: newId(), amount: money(3_396) });
    await asked(CapturePayment, orderId);
    await orders.answer(CapturePayment, 'ok', { captured: money(3_396) });
    await asked(CreateShipment, orderId);
    await orders.answer(CreateShipment, 'ok', { shipmentId: newId() });
    const shipment = { shipmentId: newId(), orderId };
    await orders.publish(new ShipmentDispatched({ ...shipment, trackingNumber: 'T-1', dispatchedAt: at }));
    await orders.publish(new ShipmentDelivered({ ...shipment, deliveredAt: at }));
    await becomes(orderId, 'completed');
    return orderId;
  };
  const request = (orderId: string, lines: PayloadOf<RequestReturn>['lines'], returnId = newId()) =>
    new RequestReturn({ orderId, returnId, lines });
  const returnsOf = async (orderId: string): Promise<OrderReturn[]> =>
    (await orders.query(new ListReturns({ orderId }))).returns;
  const returnBecomes = (orderId: string, returnId: string, status: string): Promise<unknown> =>
    until(async () =>
      (await returnsOf(orderId)).some((each) => each.returnId === returnId && each.status === status),
    );
  return { asked, place, statusOf, becomes, complete, request, returnsOf, returnBecomes };
}

const piece = (sku: string, quantity: number, damaged = false) => ({ sku, quantity, damaged });

describe('a return', () => {
  let orders: TestService;
  let the: ReturnType<typeof conversationWith>;
  beforeAll(async () => {
    orders = await start();
    the = conversationWith(orders);
  });
  afterAll(() => orders.stop());

  it('fetches the goods, books them in, pays for them, and counts in the order', async () => {
    const orderId = await the.complete();
    const returnId = newId();
    const request = new RequestReturn({
      orderId,
      returnId,
      lines: [piece('A', 2), piece('B', 1, true)],
      reason: 'too small',
    });
    const id = newId();
    const answer = { orderId, returnId, status: 'requested' };
    expect(await orders.execute(withMessageId(request, id))).toEqual(answer);
    expect(await orders.execute(withMessageId(request, id))).toEqual(answer);

    expect((await the.asked(CreateReturnShipment, returnId)).payload).toEqual({
      returnId,
      orderId,
      shipFrom: { name: 'Ada', country: 'France' },
      lines: [
        { sku: 'A', quantity: 2 },
        { sku: 'B', quantity: 1 },
      ],
    });
    await orders.answer(CreateReturnShipment, 'ok', { shipmentId: newId(), trackingNumber: 'R-1' });
    await orders.publish(new ReturnReceived({ shipmentId: newId(), orderId, returnId, receivedAt: at }));
    expect((await the.asked(ReceiveReturn, returnId)).payload).toEqual({
      orderId,
      returnKey: returnId,
      lines: [piece('A', 2), piece('B', 1, true)],
    });
    expect((await the.returnsOf(orderId))[0]).toMatchObject({ status: 'received' });
    await orders.answer(ReceiveReturn, 'ok', { restocked: 2, damaged: 1 });
    expect((await the.asked(RefundPayment, returnId)).payload).toMatchObject({ amount: money(543) });
    await orders.answer(RefundPayment, 'ok', { refunded: money(543) });
    await the.returnBecomes(orderId, returnId, 'completed');

    expect(await the.returnsOf(orderId)).toMatchObject([
      { returnId, status: 'completed', refund: money(543), reason: 'too small' },
    ]);
    const versionOf = (type: typeof OrderReturnRequested | typeof OrderReturned) =>
      orders.events(type).find(({ payload }) => payload.returnId === returnId)?.payload.version;
    expect([versionOf(OrderReturnRequested), versionOf(OrderReturned)]).toEqual([5, 6]);
    expect(await orders.query(new FindOrder({ orderId }))).toMatchObject({
      status: 'completed',
      version: 6,
    });
  });

  it.each<[string, PayloadOf<RequestReturn>['lines'], object]>([
    ['an unknown line', [piece('X', 1)], { reason: 'unknown_line' }],
    ['a charge', [piece('POST', 1)], { reason: 'charge_line' }],
    [
      'more than was delivered',
      [piece('B', 3)],
      { reason: 'exceeds_delivered', lines: [{ sku: 'B', requested: 3, returnable: 2 }] },
    ],
  ])('of %s is refused, with the reason', async (_, lines, data) => {
    const orderId = await the.complete();
    await expect(orders.execute(the.request(orderId, lines))).rejects.toMatchObject({
      code: 'NotReturnable',
      data: { ...data, status: 'completed' },
    });
    expect(await the.returnsOf(orderId)).toEqual([]);
  });

  it('of an order that was not completed, or that there is not, is refused', async () => {
    const orderId = await the.place();
    await expect(orders.execute(the.request(orderId, [piece('A', 1)]))).rejects.toMatchObject({
      code: 'NotReturnable',
      data: { reason: 'not_completed', status: 'pending' },
    });
    await expect(orders.execute(the.request(newId(), [piece('A', 1)]))).rejects.toMatchObject({
      code: 'OrderNotFound',
    });
    await expect(orders.query(new ListReturns({ orderId: newId() }))).rejects.toMatchObject({
      code: 'OrderNotFound',
    });
  });

  it('under the id of another is refused', async () => {
    const orderId = await the.complete();
    const returnId = newId();
    await orders.execute(the.request(orderId, [piece('A', 1)], returnId));
    await expect(orders.execute(the.request(orderId, [piece('A', 2)], returnId))).rejects.toMatchObject({
      code: 'ReturnExists',
    });
  });

  it('at the same time as many others, in two replicas, never claims a piece twice', async () => {
    await orders.startReplica();
    const orderId = await the.complete();
    const answers = await Promise.all(
      Array.from({ length: 12 }, () =>
        orders.execute(the.request(orderId, [piece('A', 1)])).then(() => 'claimed', errorCode),
      ),
    );
    expect(answers.filter((answer) => answer === 'claimed')).toHaveLength(6);
    expect(answers.filter((answer) => answer === 'NotReturnable')).toHaveLength(6);
    const returns = await the.returnsOf(orderId);
    expect(returns.flatMap(({ lines }) => lines).reduce((sum, { quantity }) => sum + quantity, 0)).toBe(6);
    expect(await orders.query(new FindOrder({ orderId }))).toMatchObject({ version: 4 + 6 });
  });
});

describe('a return whose goods do not come', () => {
  let orders: TestService;
  let the: ReturnType<typeof conversationWith>;
  beforeAll(async () => {
    orders = await start({ ORDERS_RETURN_TIMEOUT_MS: '300' });
    the = conversationWith(orders);
  });
  afterAll(() => orders.stop());

  it('expires, and its pieces can be returned again', async () => {
    const orderId = await the.complete();
    const returnId = newId();
    await orders.execute(the.request(orderId, [piece('A', 6)], returnId));
    await the.asked(CreateReturnShipment, returnId);
    await orders.answer(CreateReturnShipment, 'ok', { shipmentId: newId(), trackingNumber: 'R-1' });
    await the.asked(CancelReturnShipment, returnId);
    await orders.answer(CancelReturnShipment, 'ok', { cancelled: true });
    await the.returnBecomes(orderId, returnId, 'expired');
    const closed = await orders.eventually(OrderReturnClosed);
    expect(closed.map(({ payload }) => payload)).toMatchObject([
      { returnId, outcome: 'expired', detail: 'the goods did not come back in time', version: 6 },
    ]);
    await orders.execute(the.request(orderId, [piece('A', 6)]));
  });
});

describe('an order that waits too long', () => {
  it('for a person is rejected, and a late decision is refused', async () => {
    await using orders = await start({
      ORDERS_REVIEW_TIMEOUT_MS: '200',
      ORDERS_SCREENING_REVIEW_QUANTITY_ABOVE: '5',
    });
    const the = conversationWith(orders);
    const orderId = await the.place();
    await the.becomes(orderId, 'rejected');
    const rejected = await orders.eventually(OrderRejected);
    expect(rejected.map(({ payload }) => payload)).toMatchObject([
      { orderId, reason: 'fraud', detail: 'nobody reviewed it in time', version: 3 },
    ]);
    await expect(
      orders.execute(new DecideReview({ orderId, decision: 'approve', reviewer: 'Grace' })),
    ).rejects.toMatchObject({ code: 'NotAwaitingReview', data: { status: 'rejected' } });
    expect(orders.commands(ReserveStock)).toEqual([]);
  });

  it('for its payment is not confirmed when its stock is no longer held: nothing is captured', async () => {
    await using orders = await start();
    const the = conversationWith(orders);
    const orderId = await the.place();
    expect((await the.asked(ReserveStock, orderId)).payload).toMatchObject({ holdMs: 1_800_000 });
    // Held for half a minute more: too short to be sure.
    const heldUntil = new Date(Date.now() + 30_000).toISOString();
    await orders.answer(ReserveStock, 'ok', { orderId, heldUntil });
    await the.asked(AuthorisePayment, orderId);
    await orders.answer(AuthorisePayment, 'ok', { paymentId: newId(), amount: money(1_530) });
    await the.asked(VoidPayment, orderId);
    await orders.answer(VoidPayment, 'ok', { voided: true });
    await the.asked(ReleaseStock, orderId);
    await orders.answer(ReleaseStock, 'ok', { released: true });
    await the.becomes(orderId, 'cancelled');
    const cancelled = await orders.eventually(OrderCancelled);
    expect(cancelled.map(({ payload }) => payload)).toMatchObject([
      { orderId, code: 'reservation_expired', reason: 'the stock was not held long enough' },
    ]);
    expect(orders.commands(CapturePayment)).toEqual([]);
  });
});
