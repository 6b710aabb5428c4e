import { CapturePayment, PaymentRefunded } from '@flotilla/contracts-payments';
import { errorCode, newId } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { gbp, startPayments, type Payments } from './payments-under-test.ts';

let payments: Payments;

beforeAll(async () => {
  payments = await startPayments();
  // Requests are shared among both: what one process alone keeps in order does not help here.
  await payments.service.startReplica();
});
afterAll(() => payments.service.stop());

const times = <T>(count: number, action: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => action(index)));

describe('with two replicas', () => {
  it('20 captures at the same time capture once and answer the same', async () => {
    const orderId = newId();
    await payments.authorise(orderId);
    const answers = await times(20, () => payments.capture(orderId));
    expect(answers).toEqual(answers.map(() => ({ captured: gbp(1_000) })));
    expect(await payments.ours(orderId)).toEqual(['authorise 1000 GBP', 'capture 1000 GBP']);
    expect(await payments.theirs(orderId)).toEqual(await payments.ours(orderId));
  });

  it('20 authorisations of one order at the same time make one payment', async () => {
    const orderId = newId();
    const answers = await times(20, () => payments.authorise(orderId));
    expect(new Set(answers.map(({ paymentId }) => paymentId)).size).toBe(1);
    expect(await payments.theirs(orderId)).toEqual(['authorise 1000 GBP']);
    expect(await payments.ours(orderId)).toEqual(['authorise 1000 GBP']);
  });

  it('refunds at the same time never exceed what was captured', async () => {
    const orderId = newId();
    await payments.authorise(orderId, 100);
    await payments.capture(orderId);
    const answers = await times(10, (index) =>
      payments.refund(orderId, 30, `parcel-${index}`).then(() => 'refunded', errorCode),
    );
    expect(answers.filter((answer) => answer === 'refunded')).toHaveLength(3);
    expect(answers.filter((answer) => answer === 'ExceedsCaptured')).toHaveLength(7);
    expect(await payments.get(orderId)).toMatchObject({ refunded: gbp(90) });
    expect(await payments.theirs(orderId)).toEqual(await payments.ours(orderId));
  });

  it('parts and the whole of what is left, asked for at the same time, come to what was captured', async () => {
    for (let round = 0; round < 5; round += 1) {
      const orderId = newId();
      await payments.authorise(orderId, 100);
      await payments.capture(orderId);
      const answers = await times(6, (index) =>
        payments
          .refund(orderId, index === 3 ? undefined : 20, `return-${index}`)
          .then(({ refunded }) => refunded.amountMinor, errorCode),
      );
      const refunded = answers.filter((answer) => typeof answer === 'number');
      expect(refunded.reduce((sum, amount) => sum + amount, 0)).toBe(100);
      expect(answers.filter((answer) => typeof answer === 'string' && answer !== 'ExceedsCaptured')).toEqual(
        [],
      );
      expect(await payments.get(orderId)).toMatchObject({ status: 'refunded', refunded: gbp(100) });
      expect(await payments.theirs(orderId)).toEqual(await payments.ours(orderId));
      // Each event says what went back until then: the sums of the amounts, one after another.
      const told = await until(() => {
        const events = payments.service
          .events(PaymentRefunded)
          .filter(({ payload }) => payload.orderId === orderId);
        return events.length === refunded.length && events;
      });
      const inOrder = told
        .map(({ payload }) => [payload.totalRefunded?.amountMinor ?? 0, payload.amount.amountMinor] as const)
        .sort(([a], [b]) => a - b);
      let sum = 0;
      for (const [total, amount] of inOrder) expect(total).toBe((sum += amount));
    }
  });

  it('one refund asked for many times at the same time is one refund', async () => {
    const orderId = newId();
    await payments.authorise(orderId, 100);
    await payments.capture(orderId);
    const answers = await times(10, () => payments.refund(orderId, 40, 'return-1'));
    expect(answers).toEqual(answers.map(() => ({ refunded: gbp(40) })));
    expect(await payments.ours(orderId)).toEqual(['authorise 100 GBP', 'capture 100 GBP', 'refund 40 GBP']);
    expect(await payments.theirs(orderId)).toEqual(await payments.ours(orderId));
  });

  it('captures and voids at the same time agree on one end', async () => {
    for (let round = 0; round < 10; round += 1) {
      const orderId = newId();
      await payments.authorise(orderId);
      const captures = times(3, () =>
        payments.capture(orderId).then(
          () => 'captured',
          (error: unknown) => (CapturePayment.isFailure(error, 'NotAuthorised') ? 'voided' : error),
        ),
      );
      const voids = times(3, () =>
        payments.void(orderId).then(({ voided }) => (voided ? 'voided' : 'captured')),
      );
      const ends = (await Promise.all([captures, voids])).flat();
      const { status } = await payments.get(orderId);
      expect(ends).toEqual(ends.map(() => status));
      expect(await payments.theirs(orderId)).toEqual(await payments.ours(orderId));
    }
  });
});
