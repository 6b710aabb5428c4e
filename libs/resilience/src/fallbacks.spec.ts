import { jest } from '@jest/globals';
import { FlotillaError } from '@flotilla/kernel';
import { fallbackValue, LastAnswers } from './fallbacks.ts';
import { createPolicy } from './policy.ts';
import { PolicyRegistry } from './policy-registry.ts';

const pass = (ms: number): Promise<void> => jest.advanceTimersByTimeAsync(ms);
beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  jest.useRealTimers();
});

const down = (): Promise<number> => Promise.reject(new Error('connection refused'));
const refusal = new FlotillaError('NOT_FOUND', 'no such thing', { retry: 'never' });

function counted() {
  const counts: string[] = [];
  return {
    counts,
    policyCalled: (policy: string, outcome: string) => counts.push(`${policy}: ${outcome}`),
    policyRetried: () => counts.push('retried'),
    policyRetryDenied: () => counts.push('denied'),
    policyFellBack: (policy: string) => counts.push(`${policy}: fell back`),
  };
}

describe('fallback', () => {
  it('answers for a failure, and is counted beside it', async () => {
    const metrics = counted();
    const policy = createPolicy('stock', { timeoutMs: false }, { metrics });
    expect(await policy.execute(down, { fallback: fallbackValue(0) })).toBe(0);
    expect(metrics.counts).toEqual(['stock: fell back', 'stock: failed']);
  });

  it('answers after the retries, and for an open breaker', async () => {
    const policies = new PolicyRegistry();
    const policy = policies.create('stock', {
      timeoutMs: false,
      retry: { attempts: 2, initialMs: 10 },
      breaker: { consecutiveFailures: 2 },
    });
    let calls = 0;
    const failing = (): Promise<number> => ((calls += 1), down());
    const first = policy.execute(failing, { fallback: { answer: (error) => String(error).length * 0 } });
    await pass(10);
    expect([await first, calls, policy.state().breaker]).toEqual([0, 2, 'open']);
    expect(await policy.execute(failing, { fallback: fallbackValue(7) })).toBe(7);
    expect(calls).toBe(2);
  });

  it('does not answer for a refusal, unless it says so', async () => {
    const policy = createPolicy('stock', { timeoutMs: false });
    const refused = (): Promise<number> => Promise.reject(refusal);
    await expect(policy.execute(refused, { fallback: fallbackValue(0) })).rejects.toBe(refusal);
    const when = (error: unknown): boolean => error === refusal;
    expect(await policy.execute(refused, { fallback: fallbackValue(0, { when }) })).toBe(0);
    await expect(policy.execute(down, { fallback: fallbackValue(0, { when }) })).rejects.toThrow('refused');
  });

  it('does not answer a caller that has left, or waits no longer', async () => {
    const policy = createPolicy('stock', { timeoutMs: false });
    const left = AbortSignal.abort(new Error('gone'));
    await expect(policy.execute(down, { signal: left, fallback: fallbackValue(0) })).rejects.toThrow('gone');
    const late = async (): Promise<number> => {
      await pass(10);
      return down();
    };
    await expect(
      policy.execute(late, { deadline: Date.now() + 10, fallback: fallbackValue(0) }),
    ).rejects.toThrow('connection refused');
  });

  it('answers after a deadline of the call when its own is later', async () => {
    const policy = createPolicy('stock', { timeoutMs: 100 });
    const hanging = (): Promise<number> => new Promise(() => undefined);
    const answered = policy.execute(hanging, {
      deadline: Date.now() + 50,
      fallback: { ...fallbackValue(7), deadline: Date.now() + 80 },
    });
    await pass(50);
    expect(await answered).toBe(7);
  });

  it('may decline by throwing', async () => {
    const policy = createPolicy('stock', { timeoutMs: false });
    const answer = (error: unknown): number => {
      throw new Error('nothing known', { cause: error });
    };
    await expect(policy.execute(down, { fallback: { answer } })).rejects.toThrow('nothing known');
  });
});

describe('LastAnswers', () => {
  it('gives the last answer to the same question again, while it is young enough', async () => {
    const last = new LastAnswers<string>({ maxAgeMs: 1_000 });
    last.keep('lamp', 'first');
    last.keep('lamp', 'second');
    await pass(1_000);
    expect(last.fallback('lamp').answer(refusal)).toBe('second');
    expect(() => last.fallback('chair').answer(refusal)).toThrow(refusal);
    await pass(1);
    expect(() => last.fallback('lamp').answer(refusal)).toThrow(refusal);
  });

  it('keeps no more than it may, the latest', () => {
    const last = new LastAnswers<number>({ maxAgeMs: 1_000, maxEntries: 2 });
    for (const [index, question] of ['a', 'b', 'a', 'c'].entries()) last.keep(question, index);
    expect(last.fallback('a').answer(refusal)).toBe(2);
    expect(last.fallback('c').answer(refusal)).toBe(3);
    expect(() => last.fallback('b').answer(refusal)).toThrow(refusal);
  });
});
