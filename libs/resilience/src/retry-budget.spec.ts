import { jest } from '@jest/globals';
import { createPolicy } from './policy.ts';
import { InvalidPolicyOptionsError } from './resilience.errors.ts';
import { RetryBudget } from './retry-budget.ts';

const pass = (ms: number): Promise<void> => jest.advanceTimersByTimeAsync(ms);
beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

const take = (budget: RetryBudget, times: number): number =>
  Array.from({ length: times }, () => budget.take()).filter(Boolean).length;
const call = (budget: RetryBudget, times: number): void => {
  for (let made = 0; made < times; made += 1) budget.called();
};

describe('RetryBudget', () => {
  it('allows a share of the calls, and a few per second besides', () => {
    const budget = new RetryBudget({ ratio: 0.2, minPerSecond: 0.5, windowMs: 10_000 });
    expect([budget.left, take(budget, 9)]).toEqual([5, 5]);
    call(budget, 9);
    expect(take(budget, 9)).toBe(1);
    call(budget, 1);
    expect(take(budget, 9)).toBe(1);
  });

  it('allows none without a minimum and without calls', () => {
    const budget = new RetryBudget({ minPerSecond: 0 });
    expect(budget.take()).toBe(false);
  });

  it('forgets calls and retries after its window, slice by slice', async () => {
    const budget = new RetryBudget({ ratio: 0.1, minPerSecond: 0, windowMs: 10_000 });
    call(budget, 100);
    await pass(5_000);
    call(budget, 100);
    expect(take(budget, 99)).toBe(20);
    await pass(4_999);
    expect(budget.left).toBe(0);
    await pass(1);
    // The first hundred calls are forgotten; the retries of the middle still count.
    expect(budget.left).toBe(0);
    await pass(5_000);
    expect(budget.left).toBe(0);
    call(budget, 100);
    expect(take(budget, 99)).toBe(10);
    await pass(3_600_000);
    expect(budget.left).toBe(0);
    call(budget, 10);
    expect(take(budget, 99)).toBe(1);
  });

  it('refuses options that make no sense, all at once', () => {
    expect(() => new RetryBudget({ ratio: 2, minPerSecond: -1, windowMs: 10 })).toThrow(
      InvalidPolicyOptionsError,
    );
    expect(() => new RetryBudget({ ratio: 2, minPerSecond: -1, windowMs: 10 })).toThrow(
      /ratio is 2.*minPerSecond is -1.*windowMs is 10/,
    );
  });
});

describe('policies with one budget', () => {
  it('share it, and give the first error when it is used up', async () => {
    const budget = new RetryBudget({ ratio: 0.5, minPerSecond: 0 });
    const denied: string[] = [];
    const dependencies = {
      metrics: {
        policyCalled: () => undefined,
        policyRetried: () => undefined,
        policyFellBack: () => undefined,
        policyRetryDenied: (policy: string, reason: string) => denied.push(`${policy}: ${reason}`),
      },
    };
    const options = { timeoutMs: false, retry: { attempts: 5, initialMs: 1, budget } } as const;
    const [one, two] = ['one', 'two'].map((name) => createPolicy(name, options, dependencies));
    const down = jest.fn(() => Promise.reject(new Error('down')));
    for (const policy of [one, two, one, two]) {
      const failed = expect(policy?.execute(down)).rejects.toThrow('down');
      await pass(100);
      await failed;
    }
    // Four calls earn two retries, whoever makes them.
    expect(down).toHaveBeenCalledTimes(6);
    expect(denied).toEqual(['one: budget', 'two: budget', 'one: budget', 'two: budget']);
    expect(one?.state().retriesLeft).toBe(0);
  });
});
