import { CapturePayment } from '@flotilla/contracts-payments';
import { errorCode, newId } from '@flotilla/kernel';
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
