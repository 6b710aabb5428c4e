import {
  PaymentAuthorised,
  PaymentCaptured,
  PaymentDeclined,
  PaymentRefunded,
  PaymentVoided,
} from '@flotilla/contracts-payments';
import { newId } from '@flotilla/kernel';
import { authorisation, gbp, startPayments, type Payments } from './payments-under-test.ts';

let payments: Payments;

beforeAll(async () => {
  payments = await startPayments();
});
afterAll(() => payments.service.stop());

/** The events of one order, by name, as they were published. */
function eventsOf(orderId: string): string[] {
  return [PaymentAuthorised, PaymentDeclined, PaymentCaptured, PaymentVoided, PaymentRefunded].flatMap(
    (type) =>
      payments.service
        .events(type)
        .filter(({ payload }) => payload.orderId === orderId)
        .map(() => type.contract.name),
  );
}

describe('the life of a payment', () => {
  it('is authorised, captured and refunded, with its events and its ledger', async () => {
    const orderId = newId();
    const { paymentId, amount } = await payments.authorise(orderId, 1_000);
    expect(amount).toEqual(gbp(1_000));
    expect(await payments.capture(orderId)).toEqual({ captured: gbp(1_000) });
    expect(await payments.refund(orderId, 300)).toEqual({ refunded: gbp(300) });
    expect(await payments.get(orderId)).toEqual({
      paymentId,
      orderId,
      status: 'captured',
      authorised: gbp(1_000),
      captured: gbp(1_000),
      refunded: gbp(300),
    });
    expect(await payments.refund(orderId)).toEqual({ refunded: gbp(700) });
    expect(await payments.get(orderId)).toMatchObject({ status: 'refunded', refunded: gbp(1_000) });

    const refunds = await payments.service.eventually(PaymentRefunded, 2);
    expect(
      refunds.map(({ payload }) => [payload.amount.amountMinor, payload.totalRefunded?.amountMinor]),
    ).toEqual([
      [300, 300],
      [700, 1_000],
    ]);
    expect(eventsOf(orderId)).toEqual([
      'PaymentAuthorised',
      'PaymentCaptured',
      'PaymentRefunded',
      'PaymentRefunded',
    ]);
    const moved = ['authorise 1000 GBP', 'capture 1000 GBP', 'refund 300 GBP', 'refund 700 GBP'];
    expect(await payments.ours(orderId)).toEqual(moved);
    expect(await payments.theirs(orderId)).toEqual(moved);
  });

  it('ends when it is voided', async () => {
    const orderId = newId();
    await payments.authorise(orderId);
    expect(await payments.void(orderId)).toEqual({ voided: true });
    expect(await payments.get(orderId)).toMatchObject({
      status: 'voided',
      authorised: gbp(1_000),
      captured: gbp(0),
    });
    await expect(payments.capture(orderId)).rejects.toMatchObject({
      code: 'NotAuthorised',
      data: { status: 'voided' },
    });
    await expect(payments.refund(orderId)).rejects.toMatchObject({
      code: 'NotCaptured',
      data: { status: 'voided' },
    });
    expect(await payments.ours(orderId)).toEqual(['authorise 1000 GBP', 'void 1000 GBP']);
    expect(await payments.theirs(orderId)).toEqual(await payments.ours(orderId));
  });

  it.each([
    ['tok_declined', 'declined'],
    ['tok_insufficient_funds', 'insufficient_funds'],
    ['tok_of_nobody', 'unknown_token'],
    ['tok_timeout', 'provider_unavailable'],
  ])('is declined with %s: %s', async (token, reason) => {
    const orderId = newId();
    const refused = expect.objectContaining({ code: 'PaymentDeclined', data: { reason } }) as unknown;
    await expect(payments.authorise(orderId, 1_000, token)).rejects.toEqual(refused);
    await expect(payments.authorise(orderId, 1_000, token)).rejects.toEqual(refused);
    expect(await payments.get(orderId)).toMatchObject({ status: 'declined', authorised: gbp(0) });
    expect(await payments.ours(orderId)).toEqual([]);
    expect(await payments.theirs(orderId)).toEqual([]);
    expect(eventsOf(orderId)).toEqual(['PaymentDeclined']);
  });

  it('works with a provider that fails twice', async () => {
    const orderId = newId();
    expect(await payments.authorise(orderId, 500, 'tok_flaky')).toMatchObject({ amount: gbp(500) });
    expect(await payments.theirs(orderId)).toEqual(['authorise 500 GBP']);
  });

  it('of an order that costs nothing moves nothing', async () => {
    const orderId = newId();
    await payments.authorise(orderId, 0);
    await payments.capture(orderId);
    expect(await payments.refund(orderId)).toEqual({ refunded: gbp(0) });
    expect(await payments.get(orderId)).toMatchObject({ status: 'refunded' });
    expect(await payments.ours(orderId)).toEqual([]);
  });
});

describe('asked again', () => {
  it('by another message, every command answers as before and moves nothing twice', async () => {
    const orderId = newId();
    const first = await payments.authorise(orderId);
    expect(await payments.authorise(orderId)).toEqual(first);
    expect(await payments.capture(orderId)).toEqual(await payments.capture(orderId));
    expect(await payments.refund(orderId, 400, 'parcel-1')).toEqual(
      await payments.refund(orderId, 400, 'parcel-1'),
    );
    expect(await payments.void(orderId)).toEqual({ voided: false });
    expect(await payments.authorise(orderId)).toEqual(first);
    expect(await payments.ours(orderId)).toEqual([
      'authorise 1000 GBP',
      'capture 1000 GBP',
      'refund 400 GBP',
    ]);
    expect(await payments.theirs(orderId)).toEqual(await payments.ours(orderId));
  });

  it('by the same message, delivered again, it answers from the inbox', async () => {
    const orderId = newId();
    const id = newId();
    const first = await payments.service.send(authorisation(orderId), { id });
    expect(first).toMatchObject({ outcome: 'ok', reply: { amount: gbp(1_000) } });
    expect(await payments.service.send(authorisation(orderId), { id })).toEqual(first);
    expect(payments.network.calls.filter(({ key }) => key.startsWith(orderId))).toHaveLength(1);
  });

  it('for another amount, it refuses', async () => {
    const orderId = newId();
    await payments.authorise(orderId, 1_000);
    await expect(payments.authorise(orderId, 999)).rejects.toMatchObject({
      remoteCode: 'PAYMENT_AMOUNT_REFUSED',
    });
    await payments.capture(orderId);
    await payments.refund(orderId, 10, 'parcel-1');
    await expect(payments.refund(orderId, 11, 'parcel-1')).rejects.toMatchObject({
      remoteCode: 'REFUND_KEY_REUSED',
    });
  });
});

describe('in the wrong order', () => {
  it('a void that comes first forestalls the authorisation', async () => {
    const orderId = newId();
    expect(await payments.void(orderId)).toEqual({ voided: false });
    expect(await payments.void(orderId)).toEqual({ voided: false });
    await expect(payments.authorise(orderId)).rejects.toMatchObject({
      code: 'AlreadyVoided',
      data: { orderId },
    });
    await expect(payments.get(orderId)).rejects.toMatchObject({ code: 'PaymentNotFound' });
    expect(payments.network.calls.filter(({ key }) => key.startsWith(orderId))).toEqual([]);
  });

  it('nothing can be captured or refunded that was not authorised or captured', async () => {
    const orderId = newId();
    await expect(payments.capture(orderId)).rejects.toMatchObject({ code: 'NotAuthorised', data: {} });
    await expect(payments.refund(orderId)).rejects.toMatchObject({ code: 'NotCaptured', data: {} });
    await payments.authorise(orderId);
    await expect(payments.refund(orderId)).rejects.toMatchObject({
      code: 'NotCaptured',
      data: { status: 'authorised' },
    });
  });

  it('no more can be refunded than was captured', async () => {
    const orderId = newId();
    await payments.authorise(orderId, 100);
    await payments.capture(orderId);
    await expect(payments.refund(orderId, 101)).rejects.toMatchObject({
      code: 'ExceedsCaptured',
      data: { refundable: gbp(100) },
    });
    await payments.refund(orderId);
    await expect(payments.refund(orderId)).rejects.toMatchObject({
      code: 'ExceedsCaptured',
      data: { refundable: gbp(0) },
    });
  });
});
