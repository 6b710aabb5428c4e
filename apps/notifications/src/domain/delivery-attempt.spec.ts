import { afterFailure, AttemptsExhaustedError, NoAddressError } from './delivery-attempt.ts';

const limits = { initialMs: 1_000, maxMs: 8_000, maxAttempts: 5 };
const highest = (): number => 1;

describe('a failed attempt to deliver', () => {
  it('is repeated later and later', () => {
    const delays = [1, 2, 3, 4].map((attempt) => afterFailure(new Error('down'), attempt, limits, highest));
    expect(delays).toEqual(
      [1_000, 2_000, 4_000, 8_000].map((delayMs) => ({ outcome: 'retry', delayMs, why: 'Error: down' })),
    );
  });

  it('is the end after the last attempt', () => {
    expect(afterFailure(new Error('down'), 5, limits)).toEqual({ outcome: 'failed', why: 'Error: down' });
  });

  it('is the end at once when repeating cannot help', () => {
    expect(afterFailure(new NoAddressError('C-1', true), 1, limits)).toMatchObject({ outcome: 'failed' });
    expect(afterFailure(new AttemptsExhaustedError(6), 1, limits)).toMatchObject({ outcome: 'failed' });
  });

  it('waits for an address that may still come', () => {
    expect(afterFailure(new NoAddressError('C-1', false), 1, limits)).toMatchObject({ outcome: 'retry' });
  });
});
