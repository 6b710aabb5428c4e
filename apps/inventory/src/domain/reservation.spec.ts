import {
  decideRelease,
  decideReserve,
  decideShip,
  UnreservedDispatchError,
  type Reservation,
} from './reservation.ts';

const lines = [{ sku: 'A', quantity: 2 }];
const orderId = '0198c1de-0000-7000-8000-000000000001';
const reserved: Reservation = { state: 'reserved', lines };
const released: Reservation = { state: 'released', lines };
const shipped: Reservation = { state: 'shipped', lines };
const tombstone: Reservation = { state: 'released', lines: [] };

describe('reserving', () => {
  it.each([
    [undefined, 'reserve'],
    ['reserved', 'already-reserved'],
    ['shipped', 'already-reserved'],
    ['released', 'already-released'],
  ] as const)('%s -> %s', (before, expected) => expect(decideReserve(before)).toBe(expected));
});

describe('releasing', () => {
  it.each([
    [undefined, { decision: 'remember' }],
    [reserved, { decision: 'give-back', lines }],
    [released, { decision: 'already-released', hadLines: true }],
    [tombstone, { decision: 'already-released', hadLines: false }],
    [shipped, { decision: 'already-shipped' }],
  ] as const)('%j -> %j', (before, expected) => expect(decideRelease(before)).toEqual(expected));
});

describe('shipping', () => {
  it('ships what is reserved, once', () => {
    expect(decideShip(orderId, reserved)).toEqual({ decision: 'ship', lines });
    expect(decideShip(orderId, shipped)).toEqual({ decision: 'already-shipped' });
  });

  it.each([
    [released, 'never', /released -> shipped is refused/],
    [tombstone, 'never', /released -> shipped is refused/],
    [undefined, 'not-yet', /never reserved/],
  ] as const)('refuses %j, with retry %s', (before, retry, message) => {
    const error = refusalOf(() => decideShip(orderId, before));
    expect(error).toMatchObject({ code: 'UNRESERVED_DISPATCH', orderId, retry });
    expect(error.message).toMatch(message);
  });
});

function refusalOf(decide: () => unknown): UnreservedDispatchError {
  try {
    decide();
  } catch (error) {
    if (error instanceof UnreservedDispatchError) return error;
    throw error;
  }
  throw new Error('it was not refused');
}
