import { jest } from '@jest/globals';
import { composePolicies } from './compose.ts';
import type { Attempt } from './policy.ts';
import { PolicyRegistry } from './policy-registry.ts';
import { BreakerOpenError } from './resilience.errors.ts';

const pass = (ms: number): Promise<void> => jest.advanceTimersByTimeAsync(ms);
beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

const down = (): Promise<never> => Promise.reject(new Error('connection refused'));

function parts() {
  const counts: string[] = [];
  const policies = new PolicyRegistry({
    random: () => 1,
    metrics: {
      policyCalled: (policy, outcome) => counts.push(`${policy}: ${outcome}`),
      policyRetried: (policy) => counts.push(`${policy}: retried`),
      policyRetryDenied: (policy, reason) => counts.push(`${policy}: no ${reason}`),
      policyFellBack: (policy) => counts.push(`${policy}: fell back`),
    },
  });
  const owner = policies.create('inventory', {
    timeoutMs: false,
    breaker: { consecutiveFailures: 3 },
    bulkhead: { maxConcurrent: 2, queue: 1 },
  });
  const retry = { attempts: 2, initialMs: 100 };
  const stock = composePolicies('stock', [policies.create('stock', { timeoutMs: false, retry }), owner]);
  const receive = composePolicies('receive', [policies.create('receive', { timeoutMs: false }), owner]);
  return { counts, owner, stock, receive };
}

describe('composePolicies', () => {
  it('runs each call through all parts, and its attempts through the inner ones', async () => {
    const { counts, stock } = parts();
    const attempts: number[] = [];
    const result = stock.execute(async ({ number }) => {
      attempts.push(number);
      if (number === 1) await down();
      return 'ok';
    });
    await pass(100);
    expect([await result, attempts]).toEqual(['ok', [1, 2]]);
    expect(counts).toEqual(['inventory: failed', 'stock: retried', 'inventory: ok', 'stock: ok']);
  });

  it('shares breaker and bulkhead of a part among those that have it', async () => {
    const { owner, stock, receive } = parts();
    const changes: string[] = [];
    stock.onChange(({ policy, to }) => changes.push(`${policy}: ${to}`));
    const failing = stock.execute(down).catch((error: unknown) => error);
    await pass(100);
    await failing;
    await expect(receive.execute(down)).rejects.toThrow('connection refused');
    await expect(stock.execute(down)).rejects.toBeInstanceOf(BreakerOpenError);
    expect(owner.state().breaker).toBe('open');
    expect(stock.state()).toMatchObject({ name: 'stock', breaker: 'open', open: {} });
    expect(changes).toEqual(['inventory: open']);
  });

  it('hands signal and deadline inwards', async () => {
    const { stock } = parts();
    const caller = new AbortController();
    let seen: Attempt | undefined;
    const deadline = Date.now() + 5_000;
    await stock.execute(
      (attempt) => {
        seen = attempt;
        return Promise.resolve();
      },
      { signal: caller.signal, deadline },
    );
    expect(seen).toMatchObject({ deadline, number: 1 });
    caller.abort();
    expect(seen?.signal.aborted).toBe(true);
  });
});
