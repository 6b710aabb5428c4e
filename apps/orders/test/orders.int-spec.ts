import { ProductDefined, ProductPriceChanged } from '@flotilla/contracts-catalog';
import { ReleaseStock, ReserveStock } from '@flotilla/contracts-inventory';
import {
  CancelOrder,
  DecideReview,
  FindOrder,
  OrderAwaitingReview,
  OrderCancellationRefused,
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderPlaced,
  OrderRejected,
  OrderShipped,
  PlaceOrder,
} from '@flotilla/contracts-orders';
import { AuthorisePayment, CapturePayment } from '@flotilla/contracts-payments';
import type { PayloadOf } from '@flotilla/contracts-protocol';
import {
  CancelShipment,
  CreateShipment,
  ShipmentDelivered,
  ShipmentDispatched,
} from '@flotilla/contracts-shipping';
import { newId } from '@flotilla/kernel';
import { ConfigBucket } from '@flotilla/messaging';
import { withMessageId } from '@flotilla/service';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { until } from '@flotilla/testing';
import { OrdersConfig } from '../src/orders.config.ts';
import { OrdersModule } from '../src/orders.module.ts';

let orders: TestService;
beforeAll(async () => {
  orders = await startTestService({
    module: OrdersModule,
    config: OrdersConfig,
    env: { ORDERS_SCREENING_DENIED_CUSTOMERS: 'c-barred', ORDERS_SCREENING_REVIEW_QUANTITY_ABOVE: '1000' },
  });
  const gbp = (amountMinor: number) => ({ amountMinor, currency: 'GBP' });
  await orders.publish(
    new ProductDefined({ sku: 'A', name: 'Lantern', kind: 'stocked', price: gbp(255), version: 1 }),
  );
  await orders.publish(
    new ProductDefined({ sku: 'POST', name: 'Postage', kind: 'charge', price: gbp(1_800), version: 1 }),
  );
  await until(async () => (await orders.sql('SELECT sku FROM products')).length === 2, {
    describe: 'two products',
  });
});
afterAll(() => orders.stop());

const money = (amountMinor: number) => ({ amountMinor, currency: 'GBP' });
const placement = (more: Partial<PayloadOf<PlaceOrder>> = {}): PayloadOf<PlaceOrder> => ({
  orderId: newId(),
  customerId: 'c-1',
  lines: [
    { sku: 'A', quantity: 6 },
    { sku: 'POST', quantity: 1 },
  ],
  paymentToken: 'tok_ok',
  shipTo: { name: 'Ada', country: 'United Kingdom' },
  ...more,
});
const place = async (more: Partial<PayloadOf<PlaceOrder>> = {}): Promise<string> => {
  const { orderId } = await orders.execute(new PlaceOrder(placement(more)));
  return orderId;
};
const statusOf = async (orderId: string) => (await orders.query(new FindOrder({ orderId }))).status;
const becomes = (orderId: string, status: string): Promise<unknown> =>
  until(async () => (await statusOf(orderId)) === status, { describe: `order ${orderId} is ${status}` });
const asked = <
  M extends
    | typeof ReserveStock
    | typeof AuthorisePayment
    | typeof CapturePayment
    | typeof CreateShipment
    | typeof CancelShipment
    | typeof ReleaseStock,
>(
  type: M,
  orderId: string,
) =>
  until(() => orders.commands(type).find(({ payload }) => payload.orderId === orderId), {
    describe: `${type.contract.type} for ${orderId}`,
  });
const shipment = (orderId: string) => ({ shipmentId: newId(), orderId });
const at = '2026-01-02T03:04:05.000Z';

describe('an order', () => {
  it('is priced, placed and fulfilled', async () => {
    const orderId = await place();
    expect(await orders.query(new FindOrder({ orderId }))).toMatchObject({
      total: money(6 * 255 + 1_800),
      customerId: 'c-1',
    });

    const reserve = await asked(ReserveStock, orderId);
    expect(reserve.payload).toEqual({ orderId, lines: [{ sku: 'A', quantity: 6 }], holdMs: 1_800_000 });
    await orders.answer(ReserveStock, 'ok', { orderId });
    expect((await asked(AuthorisePayment, orderId)).payload).toMatchObject({
      amount: money(3_330),
      token: 'tok_ok',
    });
    await orders.answer(AuthorisePayment, 'ok', { paymentId: newId(), amount: money(3_330) });
    await asked(CapturePayment, orderId);
    await becomes(orderId, 'confirmed');
    await orders.answer(CapturePayment, 'ok', { captured: money(3_330) });
    await asked(CreateShipment, orderId);
    await orders.answer(CreateShipment, 'ok', { shipmentId: newId() });
    await orders.publish(
      new ShipmentDispatched({ ...shipment(orderId), trackingNumber: 'T-1', dispatchedAt: at }),
    );
    await becomes(orderId, 'shipped');
    await orders.publish(new ShipmentDelivered({ ...shipment(orderId), deliveredAt: at }));
    await becomes(orderId, 'completed');

    const facts = [OrderPlaced, OrderConfirmed, OrderShipped, OrderCompleted].map((type) =>
      orders.events(type).find(({ payload }) => payload.orderId === orderId),
    );
    expect(facts.map((fact) => fact?.payload.version)).toEqual([1, 2, 3, 4]);
    expect(new Set(facts.map((fact) => fact?.envelope.correlationId)).size).toBeGreaterThan(0);
    expect(facts[0]?.envelope.aggregateVersion).toBe(1);
  });

  it('placed twice under one id is placed once, and answered alike', async () => {
    const payload = placement();
    const id = newId();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => orders.execute(withMessageId(new PlaceOrder(payload), id))),
    );
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    const rows = await orders.sql('SELECT 1 FROM orders WHERE order_id = $1', [payload.orderId]);
    expect(rows).toHaveLength(1);

    const other = new PlaceOrder({ ...payload, customerId: 'c-2' });
    await expect(orders.execute(withMessageId(other, id))).rejects.toMatchObject({
      remoteCode: 'IDEMPOTENCY_CONFLICT',
    });
    await expect(orders.execute(new PlaceOrder(payload))).rejects.toMatchObject({ code: 'OrderExists' });
  });

  it('with unknown products is refused, naming them', async () => {
    const lines = [
      { sku: 'A', quantity: 1 },
      { sku: 'NOPE', quantity: 1 },
    ];
    await expect(orders.execute(new PlaceOrder(placement({ lines })))).rejects.toMatchObject({
      code: 'UnknownProduct',
      data: { skus: ['NOPE'] },
    });
  });

  it('of a barred customer is rejected for fraud', async () => {
    const orderId = await place({ customerId: 'c-barred' });
    await becomes(orderId, 'rejected');
    const rejection = orders.events(OrderRejected).find(({ payload }) => payload.orderId === orderId);
    expect(rejection?.payload).toMatchObject({
      reason: 'fraud',
      detail: 'the customer is barred',
      version: 2,
    });
  });

  it('that stock cannot cover is rejected', async () => {
    const orderId = await place();
    await asked(ReserveStock, orderId);
    const shortages = [{ sku: 'A', requested: 6, available: 2 }];
    await orders.answer(ReserveStock, 'refused', {
      code: 'OutOfStock',
      message: 'short',
      data: { shortages },
    });
    await becomes(orderId, 'rejected');
    expect(
      await orders.sql('SELECT rejection_reason, detail FROM orders WHERE order_id = $1', [orderId]),
    ).toEqual([{ rejection_reason: 'out_of_stock', detail: 'A: 2 of 6' }]);
  });

  it('is cancelled by its customer, and what was done is undone', async () => {
    const orderId = await place();
    await asked(ReserveStock, orderId);
    await orders.execute(new CancelOrder({ orderId, reason: 'changed my mind' }));
    await orders.answer(ReserveStock, 'ok', { orderId });
    await asked(ReleaseStock, orderId);
    await orders.answer(ReleaseStock, 'ok', { released: true });
    await becomes(orderId, 'cancelled');
    const cancelled = orders.events(OrderCancelled).find(({ payload }) => payload.orderId === orderId);
    expect(cancelled?.payload.reason).toBe('changed my mind');
    // Again: the same answer.
    expect(await orders.execute(new CancelOrder({ orderId }))).toEqual({
      orderId,
      status: 'cancelled',
      version: cancelled?.payload.version,
    });
  });

  it('handed over is not cancelled when the parcel has left: the customer is told, and it goes on', async () => {
    const orderId = await place();
    await asked(ReserveStock, orderId);
    await orders.answer(ReserveStock, 'ok', { orderId });
    await asked(AuthorisePayment, orderId);
    await orders.answer(AuthorisePayment, 'ok', { paymentId: newId(), amount: money(3_330) });
    await asked(CapturePayment, orderId);
    await orders.answer(CapturePayment, 'ok', { captured: money(3_330) });
    await asked(CreateShipment, orderId);
    // Taken while the shipment is created, and decided when shipping has answered.
    await expect(orders.execute(new CancelOrder({ orderId, reason: 'changed my mind' }))).resolves.toEqual({
      orderId,
      status: 'confirmed',
      version: 2,
    });
    await orders.answer(CreateShipment, 'ok', { shipmentId: newId() });
    await asked(CancelShipment, orderId);
    await orders.answer(CancelShipment, 'refused', {
      code: 'AlreadyDispatched',
      message: 'it is dispatched',
      data: { orderId, dispatchedAt: at },
      retry: 'never',
    });
    const refused = await until(() =>
      orders.events(OrderCancellationRefused).find(({ payload }) => payload.orderId === orderId),
    );
    expect(refused.payload).toMatchObject({ customerId: 'c-1', why: 'it is dispatched' });
    await expect(orders.execute(new CancelOrder({ orderId, reason: 'please' }))).rejects.toMatchObject({
      code: 'NotCancellable',
      data: { status: 'confirmed', why: 'it is dispatched' },
    });
    await orders.publish(
      new ShipmentDispatched({ ...shipment(orderId), trackingNumber: 'T-1', dispatchedAt: at }),
    );
    await becomes(orderId, 'shipped');
  });

  it('that is unknown cannot be found or cancelled', async () => {
    const orderId = newId();
    await expect(orders.query(new FindOrder({ orderId }))).rejects.toMatchObject({ code: 'OrderNotFound' });
    await expect(orders.execute(new CancelOrder({ orderId }))).rejects.toMatchObject({
      code: 'OrderNotFound',
    });
  });

  it('of unusual size waits for a person and goes on when they approve', async () => {
    const orderId = await place({ lines: [{ sku: 'A', quantity: 1_001 }] });
    await becomes(orderId, 'awaiting_review');
    expect(orders.events(OrderAwaitingReview).some(({ payload }) => payload.orderId === orderId)).toBe(true);
    await orders.execute(new DecideReview({ orderId, decision: 'approve', reviewer: 'Grace' }));
    await asked(ReserveStock, orderId);
    expect(await statusOf(orderId)).toBe('pending');
    await expect(
      orders.execute(new DecideReview({ orderId, decision: 'reject', reviewer: 'Grace' })),
    ).rejects.toMatchObject({ code: 'NotAwaitingReview' });
  });
});

it('the threshold for a review changes without a restart, for orders placed from then on', async () => {
  const thresholdOf = async (orderId: string): Promise<number | undefined> => {
    const [saga] = await orders.sql<{ data: { reviewAboveMinor: number } }>(
      'SELECT data FROM saga_instances WHERE id = $1',
      [orderId],
    );
    return saga?.data.reviewAboveMinor;
  };
  const before = await place();
  const config = orders.get<OrdersConfig>(OrdersConfig);
  await new ConfigBucket(orders.broker.connection).set('orders', 'reviewAboveMinor', '100', {
    by: 'ada',
    after: 0,
  });
  await until(() => config.reviewAboveMinor === 100);
  expect([await thresholdOf(before), await thresholdOf(await place())]).toEqual([50_000, 100]);
});

describe('the copy of the catalogue', () => {
  it('takes new prices, and ignores late ones', async () => {
    const price = (amountMinor: number, version: number) =>
      new ProductPriceChanged({
        sku: 'A',
        price: money(amountMinor),
        previousPrice: money(255),
        validFrom: at,
        version,
      });
    await orders.publish(price(300, 3));
    await orders.publish(price(200, 2));
    await until(
      async () =>
        (await orders.sql(`SELECT message_id FROM inbox WHERE consumer = 'product-copy'`)).length >= 4,
      { describe: 'both price changes are handled' },
    );
    expect(await orders.sql(`SELECT price_minor, version FROM products WHERE sku = 'A'`)).toEqual([
      { price_minor: '300', version: 3 },
    ]);
  });
});
