import { resolvePolicyOptions } from './policy.options.ts';
import { InvalidPolicyOptionsError } from './resilience.errors.ts';

describe('resolvePolicyOptions', () => {
  it('gives a time-out and nothing else by default', () => {
    expect(resolvePolicyOptions('psp')).toEqual({
      timeoutMs: 5_000,
      retry: undefined,
      breaker: undefined,
      bulkhead: undefined,
      isFailure: undefined,
    });
  });

  it('fills in what a part leaves open', () => {
    expect(
      resolvePolicyOptions('psp', {
        retry: { attempts: 3 },
        breaker: { threshold: 0.5 },
        bulkhead: { maxConcurrent: 8 },
      }),
    ).toMatchObject({
      retry: { attempts: 3, initialMs: 100, maxMs: 2_000 },
      breaker: { trips: 'share', threshold: 0.5, overCalls: 20, halfOpenAfterMs: 10_000 },
      bulkhead: { maxConcurrent: 8, queue: 0 },
    });
    expect(resolvePolicyOptions('psp', { retry: { attempts: 2, initialMs: 3_000 } }).retry?.maxMs).toBe(
      3_000,
    );
    expect(resolvePolicyOptions('psp', { breaker: { consecutiveFailures: 5 } }).breaker).toEqual({
      trips: 'consecutive',
      consecutiveFailures: 5,
      halfOpenAfterMs: 10_000,
    });
  });

  it('reports every problem in one error', () => {
    let thrown: unknown;
    try {
      resolvePolicyOptions('PSP one', {
        timeoutMs: 0,
        retry: { attempts: 0, initialMs: 500, maxMs: 100 },
        breaker: { consecutiveFailures: 3, threshold: 0.5, halfOpenAfterMs: Infinity },
        bulkhead: { maxConcurrent: 1.5, queue: -1 },
      });
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(InvalidPolicyOptionsError);
    expect(thrown).toMatchObject({
      code: 'INVALID_POLICY_OPTIONS',
      retry: 'never',
      problems: [
        'the name is "PSP one", expected a small letter, then letters, digits, dots and dashes',
        'timeoutMs is 0, expected milliseconds above 0 and up to 2147483647',
        'retry.attempts is 0, expected a whole number of at least 1',
        'retry.maxMs is 100, less than retry.initialMs, 500',
        'breaker.halfOpenAfterMs is Infinity, expected milliseconds above 0 and up to 2147483647',
        'breaker needs either consecutiveFailures or threshold',
        'bulkhead.maxConcurrent is 1.5, expected a whole number of at least 1',
        'bulkhead.queue is -1, expected a whole number of at least 0',
      ],
    });
  });

  it.each([
    [{ breaker: {} }, 'breaker needs either consecutiveFailures or threshold'],
    [{ breaker: { threshold: 1 } }, 'breaker.threshold is 1, expected a share between 0 and 1'],
    [{ breaker: { consecutiveFailures: 0 } }, 'breaker.consecutiveFailures is 0'],
    [{ breaker: { consecutiveFailures: 2, overCalls: 5 } }, 'breaker.overCalls goes with threshold'],
    [
      { breaker: { threshold: 0.5, leastCalls: 30 } },
      'breaker.leastCalls is 30, more than breaker.overCalls',
    ],
    [{ retry: { attempts: 2, jitter: 'some' as never } }, 'retry.jitter is "some", expected equal, full'],
    [{ timeoutMs: Number.NaN }, 'timeoutMs is NaN'],
  ])('refuses %j', (options, problem) => {
    expect(() => resolvePolicyOptions('psp', options)).toThrow(problem);
  });
});
