import { CapturePayment, PaymentDeclined } from '@flotilla/contracts-payments';
import { newId } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { authorisation, gbp, startPayments, type Payments } from './payments-under-test.ts';

let payments: Payments;

beforeAll(async () => {
  payments = await startPayments();
});
afterAll(() => payments.service.stop());
afterEach(() => payments.network.heal());

const callsAbout = (orderId: string): string[] =>
  payments.network.calls.filter(({ key }) => key.startsWith(orderId)).map(({ call }) => call);

async function expectSameBooks(orderId: string, moved: readonly string[]): Promise<void> {
  expect(await payments.ours(orderId)).toEqual(moved);
  expect(await payments.theirs(orderId)).toEqual(moved);
}

describe('an authorisation whose answer does not come', () => {
  it('counts when the provider had accepted it', async () => {
    const orderId = newId();
    payments.network.plan(orderId, 'authorise', 'lost answer');
    expect(await payments.authorise(orderId)).toMatchObject({ amount: gbp(1_000) });
    expect(callsAbout(orderId)).toEqual(['authorise', 'lookup']);
    await expectSameBooks(orderId, ['authorise 1000 GBP']);
  });

  it('is declined when the provider promises never to accept it, and keeps its promise', async () => {
    const orderId = newId();
    payments.network.plan(orderId, 'authorise', 'late request');
    await expect(payments.authorise(orderId)).rejects.toMatchObject({
      code: 'PaymentDeclined',
      data: { reason: 'provider_unavailable' },
    });
    expect(await payments.network.deliverLate()).toEqual([{ outcome: 'cancelled' }]);
    await expectSameBooks(orderId, []);
  });

  it('counts when it arrives between the last look and the cancellation', async () => {
    const orderId = newId();
    payments.network.plan(orderId, 'authorise', 'lost answer');
    payments.network.plan(orderId, 'lookup', 'lost answer', 2);
    payments.network.plan(orderId, 'authorise', 'lost answer', 2);
    expect(await payments.authorise(orderId)).toMatchObject({ amount: gbp(1_000) });
    expect(callsAbout(orderId).at(-1)).toBe('cancel');
    await expectSameBooks(orderId, ['authorise 1000 GBP']);
  });
});

describe('a step that is interrupted', () => {
  it('between the intent and the provider goes on with the redelivery', async () => {
    const orderId = newId();
    payments.network.planOutage(orderId);
    const answer = payments.service.send(authorisation(orderId));
    await until(() => callsAbout(orderId).filter((call) => call === 'cancel').length >= 3, {
      describe: 'the first delivery to give up',
    });
    expect(await payments.get(orderId)).toMatchObject({ status: 'pending', authorised: gbp(0) });
    expect(
      payments.service.events(PaymentDeclined).filter(({ payload }) => payload.orderId === orderId),
    ).toEqual([]);
    payments.network.heal();
    expect(await answer).toMatchObject({ outcome: 'ok', reply: { amount: gbp(1_000) } });
    await expectSameBooks(orderId, ['authorise 1000 GBP']);
  });

  it('between the provider and the outcome finds the outcome with the redelivery', async () => {
    const orderId = newId();
    payments.network.planOutage(orderId, 'lost answer');
    // The provider accepts on the first call and would say so on each later one, but nothing gets through.
    const answer = payments.service.send(authorisation(orderId, 700));
    await until(async () => (await payments.theirs(orderId)).length > 0, {
      describe: 'the provider to accept',
    });
    expect(await payments.get(orderId)).toMatchObject({ status: 'pending' });
    payments.network.heal();
    expect(await answer).toMatchObject({ outcome: 'ok' });
    await expectSameBooks(orderId, ['authorise 700 GBP']);
  });

  it('a capture between provider and outcome is captured once, whoever comes next', async () => {
    const orderId = newId();
    await payments.authorise(orderId);
    payments.network.planOutage(orderId, 'lost answer');
    payments.network.plan(orderId, 'cancel', 'lost answer');
    await expect(payments.capture(orderId)).rejects.toMatchObject({ remoteCode: 'PROVIDER_UNAVAILABLE' });
    expect(await payments.get(orderId)).toMatchObject({ status: 'authorised' });
    payments.network.heal();
    // The void learns that the capture happened, and leaves it.
    expect(await payments.void(orderId)).toEqual({ voided: false });
    expect(await payments.capture(orderId)).toEqual({ captured: gbp(1_000) });
    await expectSameBooks(orderId, ['authorise 1000 GBP', 'capture 1000 GBP']);
  });

  it('a capture that never arrived is withdrawn by the void, also if it arrives late', async () => {
    const orderId = newId();
    await payments.authorise(orderId);
    payments.network.plan(orderId, 'capture', 'late request');
    payments.network.plan(orderId, 'lookup', 'lost request', 2);
    await expect(payments.capture(orderId)).rejects.toMatchObject({ remoteCode: 'PROVIDER_UNAVAILABLE' });
    expect(await payments.void(orderId)).toEqual({ voided: true });
    expect(await payments.network.deliverLate()).toEqual([{ outcome: 'cancelled' }]);
    await expectSameBooks(orderId, ['authorise 1000 GBP', 'void 1000 GBP']);
  });

  it('a void is finished by the redelivery, and no capture gets in between', async () => {
    const orderId = newId();
    await payments.authorise(orderId);
    payments.network.planOutage(orderId, 'lost answer');
    await expect(payments.void(orderId)).rejects.toMatchObject({ remoteCode: 'PROVIDER_UNAVAILABLE' });
    payments.network.heal();
    await expect(payments.capture(orderId)).rejects.toMatchObject({
      code: 'NotAuthorised',
      data: { status: 'voided' },
    });
    expect(await payments.void(orderId)).toEqual({ voided: true });
    await expectSameBooks(orderId, ['authorise 1000 GBP', 'void 1000 GBP']);
  });

  it('a refund is finished by the redelivery and counts once', async () => {
    const orderId = newId();
    await payments.authorise(orderId);
    await payments.capture(orderId);
    payments.network.planOutage(orderId, 'lost answer');
    await expect(payments.refund(orderId, 600, 'parcel-1')).rejects.toMatchObject({
      remoteCode: 'PROVIDER_UNAVAILABLE',
    });
    payments.network.heal();
    // What is under way is set aside: it cannot be given back twice.
    await expect(payments.refund(orderId, 600, 'parcel-2')).rejects.toMatchObject({
      code: 'ExceedsCaptured',
      data: { refundable: gbp(400) },
    });
    expect(await payments.refund(orderId, 600, 'parcel-1')).toEqual({ refunded: gbp(600) });
    await expectSameBooks(orderId, ['authorise 1000 GBP', 'capture 1000 GBP', 'refund 600 GBP']);
  });

  it('a refund waits for nothing: a capture that never arrived is withdrawn first', async () => {
    const orderId = newId();
    await payments.authorise(orderId);
    payments.network.planOutage(orderId);
    await expect(payments.capture(orderId)).rejects.toMatchObject({ remoteCode: 'PROVIDER_UNAVAILABLE' });
    payments.network.heal();
    await expect(payments.refund(orderId)).rejects.toMatchObject({
      code: 'NotCaptured',
      data: { status: 'authorised' },
    });
    expect(await payments.capture(orderId)).toEqual({ captured: gbp(1_000) });
    await expectSameBooks(orderId, ['authorise 1000 GBP', 'capture 1000 GBP']);
  });
});

describe('a void that comes while the authorisation is under way', () => {
  it('forestalls it, and the provider answers the late request so', async () => {
    const orderId = newId();
    payments.network.plan(orderId, 'authorise', 'late request');
    const authorised = payments.authorise(orderId);
    const refused = expect(authorised).rejects.toMatchObject({ code: 'AlreadyVoided' });
    await until(() => callsAbout(orderId).includes('authorise'), {
      describe: 'the authorisation to be under way',
    });
    expect(await payments.void(orderId)).toEqual({ voided: true });
    await refused;
    expect(await payments.network.deliverLate()).toEqual([{ outcome: 'cancelled' }]);
    expect(await payments.get(orderId)).toMatchObject({ status: 'voided', authorised: gbp(0) });
    await expectSameBooks(orderId, []);
  });

  it('gives up what the provider had accepted', async () => {
    const orderId = newId();
    payments.network.planOutage(orderId, 'lost answer');
    await expect(payments.authorise(orderId)).rejects.toMatchObject({ remoteCode: 'PROVIDER_UNAVAILABLE' });
    payments.network.heal();
    expect(await payments.void(orderId)).toEqual({ voided: true });
    await expectSameBooks(orderId, ['authorise 1000 GBP', 'void 1000 GBP']);
    await expect(payments.authorise(orderId)).rejects.toMatchObject({ code: 'AlreadyVoided' });
  });
});

it('a command that the provider keeps failing ends in the dead letters, and its sender hears of it', async () => {
  const impatient = await startPayments({ MAX_ATTEMPTS: '2' });
  try {
    const orderId = newId();
    await impatient.authorise(orderId);
    impatient.network.planOutage(orderId);
    const answer = await impatient.service.send(new CapturePayment({ orderId }));
    expect(answer).toMatchObject({ outcome: 'failed', code: 'PROVIDER_UNAVAILABLE' });
    expect(await impatient.get(orderId)).toMatchObject({ status: 'authorised' });
  } finally {
    await impatient.service.stop();
  }
});
