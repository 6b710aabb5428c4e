import { FlotillaError } from '@flotilla/kernel';
import { deadLetterGroup, errorGroup, normalizeError } from './error-group.ts';

describe('the group of an error', () => {
  it.each([
    ['Order 4711 has 3 lines', 'Order 12 has 40 lines'],
    [
      'account-0198f2c1-7d3e-7aa0-8a51-2c5f4f6f9a01 is closed',
      'account-0298f2c1-7d3e-7aa0-8a51-2c5f4f6f9a02 is closed',
    ],
    ['due 2026-01-02T03:04:05.678Z, is over', 'due 2027-11-30T13:14:15Z, is over'],
    ['sku AB12345 is unknown', 'sku ZX999-77 is unknown'],
    ['no mailbox ann@example.com', 'no mailbox bob.b@example.co.uk'],
    ['took 1.5 s\n  of 2,000 ms', 'took 0.25 s of 10 ms'],
  ])('is the same for %j and %j', (one, other) => {
    expect(normalizeError(one)).toBe(normalizeError(other));
  });

  it.each([
    ['the warehouse is closed', 'the counter is closed'],
    ['column "total" does not exist', 'column "amount" does not exist'],
  ])('is not the same for %j and %j', (one, other) => {
    expect(normalizeError(one)).not.toBe(normalizeError(other));
  });

  it('knows the code of an error, of whatever was thrown', () => {
    expect(errorGroup(new FlotillaError('NO_SUCH_SKU', 'no 12'))).toBe('NO_SUCH_SKU: no <n>');
    expect(errorGroup('broken')).toBe('string: broken');
  });

  it('of dead letters is told apart by consumer and contract, and stays what it is', () => {
    const letter = {
      service: 'orders',
      consumer: 'orders',
      type: 'orders.PlaceOrder.v1',
      errorCode: 'Error',
      errorMessage: 'no stock of 12',
    };
    const key = deadLetterGroup(letter);
    expect(key).toBe(deadLetterGroup({ ...letter, errorMessage: 'no stock of 99' }));
    expect(key).toMatch(/^[0-9a-f]{10}$/);
    for (const other of [{ consumer: 'orders-x' }, { type: 'orders.Cancel.v1' }, { errorCode: 'TypeError' }])
      expect(deadLetterGroup({ ...letter, ...other })).not.toBe(key);
  });
});
