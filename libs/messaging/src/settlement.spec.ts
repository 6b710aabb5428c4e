import { FlotillaError } from '@flotilla/kernel';
import { patienceMs, saysNotYet, settlementOf, waitingDelayMs } from './settlement.ts';

const options = { maxAttempts: 4, backoff: { initialMs: 100, maxMs: 1_000 } };
const settle = (error: unknown, attempt: number) => settlementOf(error, attempt, options, () => 1);

describe('settlement', () => {
  it('delivers again after growing delays, up to the number of attempts', () => {
    expect([1, 2, 3, 4].map((attempt) => settle(new Error('x'), attempt))).toEqual([
      { kind: 'retry', delayMs: 100 },
      { kind: 'retry', delayMs: 200 },
      { kind: 'retry', delayMs: 400 },
      { kind: 'dead-letter' },
    ]);
  });

  it('never delivers again without a delay', () => {
    const none = { maxAttempts: 4, backoff: { initialMs: 0.1, maxMs: 0.1 } };
    expect(settlementOf(new Error('x'), 1, none, () => 0)).toEqual({ kind: 'retry', delayMs: 1 });
  });

  it('gives up at once when the error says that trying again is no use', () => {
    expect(settle(new FlotillaError('X', 'x', { retry: 'never' }), 1)).toEqual({ kind: 'dead-letter' });
    expect(settle({ retry: 'never' }, 1)).toEqual({ kind: 'dead-letter' });
    expect(settle(new FlotillaError('X', 'x'), 1).kind).toBe('retry');
  });

  it.each([[undefined], [null], ['text'], [42]])('takes %p for something that may pass', (thrown) => {
    expect(settle(thrown, 1).kind).toBe('retry');
  });
});

describe('waiting for what has not arrived', () => {
  it('is told from failing by what the error says', () => {
    expect(saysNotYet(new FlotillaError('X', 'x', { retry: 'not-yet' }))).toBe(true);
    expect(saysNotYet({ retry: 'not-yet' })).toBe(true);
    for (const error of [new FlotillaError('X', 'x'), new Error('x'), 'not-yet', undefined, null])
      expect(saysNotYet(error)).toBe(false);
  });

  it.each([1_000, 5_000, 30_000])(
    'tries again well before %p ms are over, and lasts for three of them',
    (ackWaitMs) => {
      const backoff = { initialMs: 200, maxMs: 30_000 };
      const delays = Array.from({ length: 12 }, (_, n) => waitingDelayMs(n + 1, ackWaitMs, backoff, () => 1));
      expect(delays[0]).toBe(200);
      expect(delays).toEqual(delays.toSorted((a, b) => a - b));
      expect(delays.at(-1)).toBe(Math.round(ackWaitMs / 3));
      expect(patienceMs(ackWaitMs)).toBe(3 * ackWaitMs);
    },
  );
});
