import { differenceOf, type OurRecord, type TheirRecord } from './reconciliation.ts';

const amount = { amountMinor: 1_000, currency: 'GBP' };
const ours = (more: Partial<OurRecord> = {}): OurRecord => ({
  status: 'captured',
  amount,
  reference: 'auth_1',
  refundedMinor: 0,
  underWay: false,
  ...more,
});
const theirs = (more: Partial<TheirRecord> = {}): TheirRecord => ({
  status: 'captured',
  amount,
  reference: 'auth_1',
  refundedMinor: 0,
  ...more,
});

describe('our books and the provider’s', () => {
  it.each([
    [ours(), theirs()],
    [ours({ status: 'authorised' }), theirs({ status: 'authorised' })],
    [ours({ status: 'voided' }), theirs({ status: 'voided' })],
    [ours({ status: 'refunded', refundedMinor: 1_000 }), theirs({ refundedMinor: 1_000 })],
    [ours({ status: 'declined', reference: undefined }), undefined],
    [ours({ status: 'forestalled', reference: undefined, amount: undefined }), undefined],
    // What is under way is settled by the redelivery, and compared the next time.
    [ours({ status: 'authorised', underWay: true }), theirs()],
    [ours({ status: 'pending', reference: undefined, underWay: true }), theirs({ status: 'authorised' })],
  ])('agree: %j, %j', (our, their) => expect(differenceOf(our, their)).toBeUndefined());

  it.each([
    ['unknown-to-us', undefined, theirs()],
    ['unknown-to-us', ours({ status: 'declined' }), theirs({ status: 'authorised' })],
    ['unknown-to-provider', ours(), undefined],
    ['reference', ours(), theirs({ reference: 'auth_2' })],
    ['status', ours({ status: 'voided' }), theirs({ status: 'authorised' })],
    ['amount', ours(), theirs({ amount: { amountMinor: 999, currency: 'GBP' } })],
    ['amount', ours(), theirs({ amount: { amountMinor: 1_000, currency: 'EUR' } })],
    ['refunded', ours(), theirs({ refundedMinor: 1 })],
  ] as const)('differ: %s', (kind, our, their) => expect(differenceOf(our, their)).toBe(kind));
});
