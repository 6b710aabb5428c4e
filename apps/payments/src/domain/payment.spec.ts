import type { Posting } from './ledger.ts';
import {
  authorise,
  begin,
  beginRefund,
  capture,
  decline,
  finishRefund,
  forestall,
  forestallPayment,
  giveUp,
  giveUpRefund,
  openPayment,
  PaymentAmountError,
  PaymentTransitionError,
  publicStatus,
  refundable,
  RefundExceedsCapturedError,
  voidAuthorisation,
  type CapturedPayment,
  type Payment,
} from './payment.ts';

const gbp = (amountMinor: number) => ({ amountMinor, currency: 'GBP' });
const pending = openPayment('p1', 'o1', gbp(1_000));
const authorised = authorise(pending, 'auth_1').after;
const captured = capture(begin(authorised, 'capture').after).after;

describe('a payment', () => {
  it('goes from pending to authorised to captured, and counts its versions', () => {
    expect(authorised).toEqual({
      status: 'authorised',
      id: 'p1',
      orderId: 'o1',
      version: 2,
      amount: gbp(1_000),
      reference: 'auth_1',
      inFlight: undefined,
    });
    expect(captured).toMatchObject({ status: 'captured', version: 4, refundedMinor: 0, refundingMinor: 0 });
  });

  it('says what happened', () => {
    expect(authorise(pending, 'auth_1').fact).toEqual({ fact: 'authorised', amount: gbp(1_000) });
    expect(decline(pending, 'insufficient_funds').fact).toMatchObject({
      fact: 'declined',
      reason: 'insufficient_funds',
    });
    expect(voidAuthorisation(authorised).fact).toEqual({ fact: 'voided', amount: gbp(1_000) });
    // Nothing was ever blocked, so nothing was given up either.
    expect(forestall(pending).fact).toBeUndefined();
  });

  it('gives each beginning its own key, because a key that was given up is dead', () => {
    const first = begin(authorised, 'capture').after;
    const second = begin(giveUp(first).after, 'capture').after;
    expect(first.inFlight).toEqual({ operation: 'capture', key: 'o1:capture:2' });
    expect(second.inFlight).toEqual({ operation: 'capture', key: 'o1:capture:4' });
  });

  const declined = decline(pending, 'declined').after;
  const voided = voidAuthorisation(authorised).after;
  const forestalled = forestallPayment('p1', 'o1');
  it.each<[string, string, () => unknown]>([
    ['declined', 'authorised', () => authorise(declined, 'auth_2')],
    ['captured', 'declined', () => decline(captured, 'declined')],
    ['pending', 'captured', () => capture(pending)],
    ['voided', 'captured', () => capture(voided)],
    ['captured', 'voided', () => voidAuthorisation(captured)],
    ['forestalled', 'authorised', () => authorise(forestalled, 'auth_2')],
    ['authorised', 'forestalled', () => forestall(authorised)],
    [
      'authorised (capture under way)',
      'being voided',
      () => begin(begin(authorised, 'capture').after, 'void'),
    ],
    ['authorised', 'refunded', () => beginRefund(authorised, undefined)],
  ])('refuses to go from %s to %s, and names both', (from, to, step) => {
    expect(step).toThrow(PaymentTransitionError);
    expect(step).toThrow(`Payment p1 of order o1 cannot go from ${from} to ${to}`);
  });

  it('takes no negative amount', () => {
    expect(() => openPayment('p1', 'o1', gbp(-1))).toThrow(PaymentAmountError);
  });

  it('is voided for others when its void came first', () => {
    expect(publicStatus(forestalled)).toBe('voided');
  });
});

describe('a refund', () => {
  const refund = (amountMinor: number, refundKey = 'r1') => ({
    refundKey,
    amount: gbp(amountMinor),
    reason: 'returned',
  });

  it('is of the whole of what is left unless it says how much', () => {
    const part = beginRefund(captured, gbp(400));
    expect(part.amount).toEqual(gbp(400));
    expect(beginRefund(part.change.after, undefined).amount).toEqual(gbp(600));
  });

  it('counts from its beginning, so that two at a time cannot exceed what was captured', () => {
    const { after } = beginRefund(captured, gbp(600)).change;
    expect(refundable(after)).toEqual(gbp(400));
    expect(() => beginRefund(after, gbp(401))).toThrow(RefundExceedsCapturedError);
  });

  it('makes the payment refunded when everything went back', () => {
    const begun = beginRefund(captured, gbp(600)).change.after;
    const part = finishRefund(begun, refund(600)).after;
    expect(part).toMatchObject({ status: 'captured', refundedMinor: 600, refundingMinor: 0 });
    const all = finishRefund(beginRefund(part, undefined).change.after, refund(400, 'r2')).after;
    expect(all).toMatchObject({ status: 'refunded', refundedMinor: 1_000, refundingMinor: 0 });
    expect(() => beginRefund(all, undefined)).toThrow(RefundExceedsCapturedError);
  });

  it('that the provider refused frees its amount', () => {
    const begun = beginRefund(captured, undefined).change.after;
    expect(refundable(giveUpRefund(begun, gbp(1_000)).after)).toEqual(gbp(1_000));
  });

  it('of an order that cost nothing works', () => {
    const free = capture(authorise(openPayment('p2', 'o2', gbp(0)), 'auth_2').after).after;
    const { change, amount } = beginRefund(free, undefined);
    expect(finishRefund(change.after, { refundKey: 'r1', amount, reason: 'cancelled' })).toMatchObject({
      after: { status: 'refunded' },
      posting: { entries: [] },
    });
  });

  it.each([gbp(0), gbp(-5), { amountMinor: 5, currency: 'EUR' }])('refuses %j', (amount) => {
    expect(() => beginRefund(captured, amount)).toThrow(PaymentAmountError);
  });
});

describe('the ledger', () => {
  const balancesOf = (postings: readonly Posting[]): Record<string, number> => {
    const balances: Record<string, number> = {};
    for (const { account, direction, amountMinor } of postings.flatMap(({ entries }) => entries)) {
      balances[account] = (balances[account] ?? 0) + (direction === 'debit' ? amountMinor : -amountMinor);
    }
    return balances;
  };

  it('posts a step under the same id whenever it is recorded, and each refund under its own', () => {
    const first = finishRefund(beginRefund(captured, gbp(1)).change.after, {
      refundKey: 'a',
      amount: gbp(1),
      reason: '',
    });
    const other = finishRefund(beginRefund(captured, gbp(1)).change.after, {
      refundKey: 'b',
      amount: gbp(1),
      reason: '',
    });
    expect(authorise(pending, 'x').posting?.transactionId).toBe(
      authorise(pending, 'y').posting?.transactionId,
    );
    expect(first.posting?.transactionId).not.toBe(other.posting?.transactionId);
  });

  it('balances in every posting, and says where the money is, whatever happens to the payments', () => {
    // A linear congruential generator (Numerical Recipes): the same sequence in every run.
    let seed = 7;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const postings: Posting[] = [];
    const payments: Payment[] = [];
    for (let i = 0; i < 200; i += 1) {
      let payment: Payment = openPayment(`p${i}`, `o${i}`, gbp(random(5_000)));
      for (let steps = random(7); steps > 0; steps -= 1) {
        const change = randomStep(payment, random);
        if (change?.posting) postings.push(change.posting);
        payment = change?.after ?? payment;
      }
      payments.push(payment);
    }

    for (const posting of postings) {
      const sum = posting.entries.reduce(
        (total, { direction, amountMinor }) => total + (direction === 'debit' ? amountMinor : -amountMinor),
        0,
      );
      expect(sum).toBe(0);
    }
    const total = (of: (payment: Payment) => number): number =>
      payments.reduce((sum, each) => sum + of(each), 0);
    const held = total((each) => (each.status === 'authorised' ? each.amount.amountMinor : 0));
    const isCaptured = (each: Payment): each is CapturedPayment =>
      each.status === 'captured' || each.status === 'refunded';
    const sold = total((each) => (isCaptured(each) ? each.amount.amountMinor : 0));
    const refunded = total((each) => (isCaptured(each) ? each.refundedMinor : 0));
    expect([held, sold, refunded].every((amount) => amount > 0)).toBe(true);
    expect(balancesOf(postings)).toEqual({
      customer_authorised: held,
      authorisation_hold: -held,
      provider_clearing: sold - refunded,
      sales: -sold,
      refunds: refunded,
    });
  });

  function randomStep(payment: Payment, random: (below: number) => number) {
    switch (payment.status) {
      case 'pending':
        return [
          () => authorise(payment, 'auth'),
          () => authorise(payment, 'auth'),
          () => decline(payment, 'declined'),
          () => forestall(payment),
        ][random(4)]?.();
      case 'authorised':
        return [
          () => capture(payment),
          () => capture(payment),
          () => voidAuthorisation(payment),
          () => undefined,
        ][random(4)]?.();
      case 'captured': {
        const left = refundable(payment).amountMinor;
        if (left === 0) return undefined;
        const amount = gbp(1 + random(left));
        return finishRefund(beginRefund(payment, amount).change.after, {
          refundKey: `r${payment.version}`,
          amount,
          reason: '',
        });
      }
      default:
        return undefined;
    }
  }
});
