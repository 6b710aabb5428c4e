import { CapturePayment, RefundPayment, VoidPayment } from '@flotilla/contracts-payments';
import type { AnyMessage } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import type { Fault } from './misbehaving-provider.ts';
import { authorisation, gbp, startPayments, type Payments } from './payments-under-test.ts';

let payments: Payments;

beforeAll(async () => {
  payments = await startPayments({ PAYMENTS_PROVIDER_TIMEOUT_MS: '40' });
});
afterAll(() => payments.service.stop());

/** A linear congruential generator (Numerical Recipes): the same sequence in every run. */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

it.each([1, 20_301, 777])(
  'after any sequence of commands on a bad network, our ledger and the books of the provider agree (seed %d)',
  async (seed) => {
    const random = randomFrom(seed);
    const pick = <T>(...choices: readonly T[]): T => choices[random(choices.length)] as T;
    const calls = ['authorise', 'capture', 'void', 'refund', 'lookup', 'cancel'] as const;
    const faults: readonly Fault[] = ['lost request', 'lost answer', 'late request'];

    const orders = Array.from({ length: 40 }, () => {
      const orderId = newId();
      const amountMinor = random(5_000);
      const token = pick('tok_ok', 'tok_ok', 'tok_ok', 'tok_flaky', 'tok_declined');
      for (let planned = random(6); planned > 0; planned -= 1) {
        payments.network.plan(orderId, pick(...calls), pick(...faults), 1 + random(3));
      }
      const commands = Array.from({ length: 2 + random(6) }, (): AnyMessage =>
        pick<() => AnyMessage>(
          () => authorisation(orderId, amountMinor, token),
          () => new CapturePayment({ orderId }),
          () => new CapturePayment({ orderId }),
          () => new VoidPayment({ orderId, reason: 'test' }),
          () => new RefundPayment({ orderId, refundKey: `r${random(3)}`, reason: 'test' }),
          () =>
            new RefundPayment({
              orderId,
              refundKey: newId(),
              amount: gbp(1 + random(2_000)),
              reason: 'test',
            }),
        )(),
      );
      return { orderId, commands: [authorisation(orderId, amountMinor, token), ...commands] };
    });

    // The commands of an order come one after another, as from a saga, each until it is answered.
    const answers = await Promise.all(
      orders.map(async ({ commands }) => {
        const outcomes: string[] = [];
        for (const command of commands) outcomes.push((await payments.service.send(command)).outcome);
        return outcomes;
      }),
    );
    // Whatever is still on its way arrives now, when nobody waits for it any more.
    await payments.network.deliverLate();

    const count = (outcome: string): number => answers.flat().filter((each) => each === outcome).length;
    expect(count('ok')).toBeGreaterThan(40);
    expect(count('refused')).toBeGreaterThan(10);

    expect(await payments.ours()).toEqual(await payments.theirs());

    const unbalanced = await payments.service.sql(
      `SELECT transaction_id FROM ledger_entries GROUP BY transaction_id, currency
     HAVING sum(CASE direction WHEN 'debit' THEN amount_minor ELSE -amount_minor END) <> 0`,
    );
    expect(unbalanced).toEqual([]);

    // The payments say the same as the accounts.
    const [balances] = await payments.service.sql(
      `SELECT coalesce(sum(CASE direction WHEN 'debit' THEN amount_minor ELSE -amount_minor END)
                         FILTER (WHERE account = 'customer_authorised'), 0)::float8 AS held,
            sum(amount_minor) FILTER (WHERE account = 'sales')::float8 AS sold,
            sum(amount_minor) FILTER (WHERE account = 'refunds')::float8 AS refunded
       FROM ledger_entries`,
    );
    const [states] = await payments.service.sql(
      `SELECT coalesce(sum(amount_minor) FILTER (WHERE status = 'authorised'), 0)::float8 AS held,
            sum(amount_minor) FILTER (WHERE status IN ('captured', 'refunded'))::float8 AS sold,
            sum(refunded_minor)::float8 AS refunded
       FROM payments`,
    );
    expect(balances).toEqual(states);
  },
);
