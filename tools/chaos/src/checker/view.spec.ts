import { differing, readEvent, rebuild } from './view.ts';

const event = (name: string, version: number | null, payload: object) =>
  readEvent({
    key: 'o',
    id: `${name}-${version}`,
    name,
    version: version === null ? null : String(version),
    body: JSON.stringify({
      orderId: 'o',
      customerId: 'c',
      version,
      at: `2026-01-01T00:00:0${version ?? 9}Z`,
      ...payload,
    }),
  });

const money = (amountMinor: number) => ({ amountMinor, currency: 'GBP' });

describe('the view of an order that is built from its events', () => {
  it('is its newest status, with all that was told on the way', () => {
    const { order, timeline } = rebuild(
      [
        event('OrderPlaced', 1, { lines: [{ sku: 'A' }], total: money(5), shipTo: { name: 'Ada' } }),
        event('OrderAwaitingReview', 2, { why: 'large' }),
        event('OrderReviewed', 3, { decision: 'reject', reviewer: 'eve' }),
        event('OrderRejected', 4, { reason: 'fraud', detail: 'rejected by eve' }),
        event('OrderCancellationRefused', null, { why: 'late' }),
      ],
      [],
    );
    expect(order).toMatchObject({
      status: 'rejected',
      version: 4,
      rejection_reason: 'fraud',
      total_minor: '5',
      placed_at: '2026-01-01T00:00:01Z',
      updated_at: '2026-01-01T00:00:04Z',
    });
    expect(timeline.map(({ position, status, detail }) => [position, status, detail])).toEqual([
      [1, 'pending', null],
      [2, 'awaiting_review', 'large'],
      [3, 'pending', 'reject by eve'],
      [4, 'rejected', 'fraud: rejected by eve'],
    ]);
  });

  it('has each movement of money once, and returns as they ended', () => {
    const back = { returnId: 'r', lines: [{ sku: 'A', quantity: 2 }], refund: money(3) };
    const refund = event('PaymentRefunded', null, { refundKey: 'r', amount: money(3) });
    const { movements, returns, timeline } = rebuild(
      [event('OrderReturnRequested', 5, back), event('OrderReturned', 6, back)],
      [event('PaymentCaptured', null, { amount: money(5) }), refund, refund],
    );
    expect(movements.map(({ entry, amount_minor }) => [entry, amount_minor])).toEqual([
      ['captured', '5'],
      ['refunded:r', '3'],
    ]);
    expect(returns).toMatchObject([{ return_id: 'r', status: 'completed', version: 6, refund_minor: '3' }]);
    expect(timeline.map(({ detail }) => detail)).toEqual(['2 x A', '2 x A']);
  });

  it('is compared whatever form the database gives its values', () => {
    const row = { at: new Date('2026-01-01T00:00:00Z'), lines: [{ b: 1, a: 2 }], amount: '5', none: null };
    const same = { at: '2026-01-01T00:00:00.000Z', lines: [{ a: 2, b: 1 }], amount: '5', none: undefined };
    expect(differing(row, same)).toEqual([]);
    expect(differing(row, { amount: '6' })).toEqual(['amount 5 for 6']);
  });
});
