import { AsyncLocalStorage } from 'node:async_hooks';
import { jest } from '@jest/globals';
import { FlotillaError } from '@flotilla/kernel';
import { createPolicy, type BreakerChange, type PolicyMetrics } from './policy.ts';
import { PolicyRegistry } from './policy-registry.ts';
import {
  BreakerOpenError,
  BulkheadFullError,
  DeadlineExceededError,
  PolicyTimeoutError,
} from './resilience.errors.ts';

const down = async (): Promise<never> => Promise.reject(new Error('connection refused'));
const never = (): Promise<never> => new Promise(() => undefined);
const refusal = new FlotillaError('CARD_DECLINED', 'declined', { retry: 'never' });
const pass = (ms: number): Promise<void> => jest.advanceTimersByTimeAsync(ms);

/** The error that the promise rejects with; fails if it resolves. */
async function errorOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => Promise.reject(new Error(`resolved with ${String(value)}`)),
    (error: unknown) => error,
  );
}

function counting(): PolicyMetrics & { readonly calls: string[] } {
  const calls: string[] = [];
  return {
    calls,
    policyCalled: (policy, outcome) => calls.push(`${policy}: ${outcome}`),
    policyRetried: (policy) => calls.push(`${policy}: retried`),
    policyRetryDenied: (policy, reason) => calls.push(`${policy}: no ${reason}`),
    policyFellBack: (policy) => calls.push(`${policy}: fell back`),
  };
}

/** A function that is under way until it is told how to end. */
function steered<T>() {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const fn = jest.fn(() => promise);
  return { fn, resolve, reject };
}

beforeEach(() => {
  jest.useFakeTimers();
});
afterEach(() => {
  expect(jest.getTimerCount()).toBe(0);
  jest.useRealTimers();
});

describe('time-out', () => {
  it('rejects at the time and aborts the signal, whether or not the function heeds it', async () => {
    const policy = createPolicy('psp', { timeoutMs: 100 });
    let signal: AbortSignal | undefined;
    const deaf = errorOf(
      policy.execute((context) => {
        signal = context.signal;
        return never();
      }),
    );
    const heeding = errorOf(
      policy.execute(
        ({ signal: own }) =>
          new Promise((_resolve, reject) => own.addEventListener('abort', () => reject(own.reason as Error))),
      ),
    );
    await pass(99);
    expect([signal?.aborted, policy.state().running]).toEqual([false, 2]);
    await pass(1);
    expect(signal?.aborted).toBe(true);
    for (const error of [await deaf, await heeding]) {
      expect(error).toBeInstanceOf(PolicyTimeoutError);
      expect(error).toMatchObject({ code: 'POLICY_TIMEOUT', policy: 'psp', timeoutMs: 100, retry: 'later' });
    }
    expect(policy.state().running).toBe(0);
  });

  it('passes results and errors through, and leaves the signal alone afterwards', async () => {
    const policy = createPolicy('psp');
    let signal: AbortSignal | undefined;
    expect(await policy.execute(async (context) => ((signal = context.signal), 42))).toBe(42);
    await pass(10_000);
    expect(signal?.aborted).toBe(false);
    expect(await errorOf(policy.execute(async () => Promise.reject(refusal)))).toBe(refusal);
    const thrown = new TypeError('at once');
    expect(
      await errorOf(
        policy.execute(() => {
          throw thrown;
        }),
      ),
    ).toBe(thrown);
  });
});

describe('retry', () => {
  const options = { timeoutMs: 50, retry: { attempts: 3, initialMs: 100, maxMs: 150 } };

  it('waits longer each time, up to the bound, and gives the last error', async () => {
    const metrics = counting();
    const policy = createPolicy('psp', options, { metrics, random: () => 1 });
    const fn = jest.fn(down);
    const error = errorOf(policy.execute(fn));
    const attempts: number[] = [];
    for (const ms of [0, 99, 1, 149, 1]) {
      await pass(ms);
      attempts.push(fn.mock.calls.length);
    }
    expect(attempts).toEqual([1, 1, 2, 2, 3]);
    expect(await error).toMatchObject({ message: 'connection refused' });
    expect(metrics.calls).toEqual(['psp: retried', 'psp: retried', 'psp: failed']);
  });

  it('tries again after a time-out, each attempt with a time of its own', async () => {
    const policy = createPolicy('psp', options, { random: () => 0 });
    const fn = jest.fn<() => Promise<string>>().mockImplementationOnce(never).mockResolvedValueOnce('second');
    const result = policy.execute(fn);
    await pass(50 + 50);
    expect(await result).toBe('second');
  });

  it('does not repeat what cannot get better', async () => {
    const metrics = counting();
    const policy = createPolicy('psp', options, { metrics });
    const fn = jest.fn(async () => Promise.reject(refusal));
    expect(await errorOf(policy.execute(fn))).toBe(refusal);
    expect(fn).toHaveBeenCalledTimes(1);
    expect(metrics.calls).toEqual(['psp: refused']);
  });

  it('asks isFailure where one is given', async () => {
    const policy = createPolicy(
      'psp',
      { ...options, isFailure: (error) => error === refusal },
      { random: () => 0 },
    );
    const declined = jest.fn(async () => Promise.reject(refusal));
    const refused = errorOf(policy.execute(declined));
    await pass(50 + 75);
    expect(await refused).toBe(refusal);
    expect(declined).toHaveBeenCalledTimes(3);
    const other = jest.fn(down);
    await errorOf(policy.execute(other));
    expect(other).toHaveBeenCalledTimes(1);
  });
});

describe('breaker', () => {
  const options = { timeoutMs: 50, breaker: { consecutiveFailures: 2, halfOpenAfterMs: 1_000 } };

  it('opens, refuses without calling, tries once, and closes', async () => {
    const policy = createPolicy('psp', options);
    const changes: BreakerChange[] = [];
    const stop = policy.onChange((change) => changes.push(change));
    await errorOf(policy.execute(down));
    expect(policy.state().breaker).toBe('closed');
    const slow = errorOf(policy.execute(never));
    await pass(50);
    expect(await slow).toBeInstanceOf(PolicyTimeoutError);

    const fn = jest.fn(async () => 'works');
    await pass(400);
    expect(policy.state()).toMatchObject({ breaker: 'open', open: { retryAfterMs: 600 } });
    const refused = await errorOf(policy.execute(fn));
    expect(refused).toBeInstanceOf(BreakerOpenError);
    expect(refused).toMatchObject({
      code: 'BREAKER_OPEN',
      retry: 'later',
      retryAfterMs: 600,
      message: expect.stringContaining(
        'the next trial is in 600ms (last failure: A call through policy "psp" did',
      ) as string,
    });
    expect(fn).not.toHaveBeenCalled();

    await pass(600);
    const trial = steered<string>();
    const trying = policy.execute(trial.fn);
    const beside = await errorOf(policy.execute(fn));
    expect(beside).toMatchObject({
      retryAfterMs: 0,
      message: expect.stringContaining('a trial call is running') as string,
    });
    expect([policy.state().breaker, fn.mock.calls.length]).toEqual(['half-open', 0]);
    trial.resolve('works again');
    expect(await trying).toBe('works again');
    expect(policy.state()).toEqual({ name: 'psp', breaker: 'closed', running: 0, queued: 0 });
    stop();
    await errorOf(policy.execute(down));
    await errorOf(policy.execute(down));
    expect(changes.map(({ from, to }) => `${from} > ${to}`)).toEqual([
      'closed > open',
      'open > half-open',
      'half-open > closed',
    ]);
    expect(changes[0]).toMatchObject({ policy: 'psp', cause: { code: 'POLICY_TIMEOUT' } });
  });

  it('stays open when the trial fails', async () => {
    const policy = createPolicy('psp', options);
    await errorOf(policy.execute(down));
    await errorOf(policy.execute(down));
    await pass(1_000);
    await errorOf(policy.execute(down));
    expect(policy.state()).toMatchObject({ breaker: 'open', open: { retryAfterMs: 1_000 } });
  });

  it('does not count refusals, nor calls whose caller left', async () => {
    const policy = createPolicy('psp', options);
    for (let call = 0; call < 5; call += 1) {
      await errorOf(policy.execute(async () => Promise.reject(refusal)));
      const caller = new AbortController();
      const left = errorOf(policy.execute(never, { signal: caller.signal }));
      caller.abort();
      await left;
    }
    expect(policy.state().breaker).toBe('closed');
  });

  it('is not closed by a trial whose caller left', async () => {
    const policy = createPolicy('psp', options);
    await errorOf(policy.execute(down));
    await errorOf(policy.execute(down));
    await pass(1_000);
    const caller = new AbortController();
    const left = errorOf(policy.execute(never, { signal: caller.signal }));
    caller.abort();
    await left;
    await pass(0);
    expect(policy.state().breaker).toBe('open');
  });

  it('learns nothing from what isFailure does not know', async () => {
    const lost = new Error('our own connection is lost');
    const policy = createPolicy('psp', {
      ...options,
      isFailure: (error) => (error === lost ? undefined : true),
    });
    for (let call = 0; call < 5; call += 1) await errorOf(policy.execute(async () => Promise.reject(lost)));
    expect(policy.state().breaker).toBe('closed');
    for (let call = 0; call < 2; call += 1) await errorOf(policy.execute(down));
    await pass(1_000);
    await errorOf(policy.execute(async () => Promise.reject(lost)));
    expect(policy.state().breaker).toBe('open');
  });

  it('opens by the share of failures over the last calls', async () => {
    const policy = createPolicy('psp', { breaker: { threshold: 0.5, overCalls: 4 } });
    for (const fn of [down, down, async () => 1]) await policy.execute(fn).catch(() => undefined);
    expect(policy.state().breaker).toBe('closed');
    await errorOf(policy.execute(down));
    expect(policy.state().breaker).toBe('open');
  });

  it('ends the retries when it opens', async () => {
    const policy = createPolicy('psp', { ...options, retry: { attempts: 9 } }, { random: () => 0 });
    const fn = jest.fn(down);
    const error = errorOf(policy.execute(fn));
    await pass(50 + 100);
    expect(await error).toBeInstanceOf(BreakerOpenError);
    expect(fn).toHaveBeenCalledTimes(2);
  });
});

describe('bulkhead', () => {
  const options = { bulkhead: { maxConcurrent: 1, queue: 1 } };

  it('runs so many, queues so many, and refuses the rest at once', async () => {
    const metrics = counting();
    const policy = createPolicy('psp', options, { metrics });
    const [first, second] = [steered<string>(), steered<string>()];
    const running = policy.execute(first.fn);
    const waiting = policy.execute(second.fn);
    expect(policy.state()).toMatchObject({ running: 1, queued: 1 });
    const full = await errorOf(policy.execute(async () => 'third'));
    expect(full).toBeInstanceOf(BulkheadFullError);
    expect(full).toMatchObject({
      code: 'BULKHEAD_FULL',
      message:
        'Policy "psp" refuses calls: 1 are running and 1 are waiting; call less often or raise bulkhead.maxConcurrent',
    });
    expect(second.fn).not.toHaveBeenCalled();
    first.resolve('one');
    expect(await running).toBe('one');
    second.resolve('two');
    expect(await waiting).toBe('two');
    expect(policy.state()).toMatchObject({ running: 0, queued: 0 });
    expect(metrics.calls).toEqual(['psp: bulkhead-full', 'psp: ok', 'psp: ok']);
  });

  it('runs a queued call in the asynchronous context of its own caller', async () => {
    const caller = new AsyncLocalStorage<string>();
    const policy = createPolicy('psp', options);
    const first = steered<string>();
    const running = caller.run('a', () => policy.execute(first.fn));
    const waiting = caller.run('b', () => policy.execute(async () => caller.getStore()));
    first.resolve('done');
    await running;
    expect(await waiting).toBe('b');
  });

  it('gives its place back while a call waits for its next attempt', async () => {
    const policy = createPolicy(
      'psp',
      { ...options, retry: { attempts: 2, initialMs: 100 } },
      { random: () => 0 },
    );
    const retrying = errorOf(policy.execute(down));
    await pass(0);
    expect(await policy.execute(async () => 'meanwhile')).toBe('meanwhile');
    await pass(50);
    expect(await retrying).toMatchObject({ message: 'connection refused' });
  });

  it('refuses what is queued as soon as the breaker opens', async () => {
    const policy = createPolicy('psp', {
      bulkhead: { maxConcurrent: 2, queue: 10 },
      breaker: { consecutiveFailures: 1 },
    });
    const [slow, failing] = [steered<string>(), steered<string>()];
    const running = [slow, failing].map(({ fn }) => policy.execute(fn));
    const fn = jest.fn(async () => 'late');
    const waiting = Promise.all(Array.from({ length: 10 }, () => errorOf(policy.execute(fn))));
    failing.reject(new Error('connection refused'));
    for (const error of await waiting) expect(error).toBeInstanceOf(BreakerOpenError);
    slow.resolve('done');
    expect(await Promise.allSettled(running)).toMatchObject([{ value: 'done' }, { status: 'rejected' }]);
    expect(fn).not.toHaveBeenCalled();
  });
});

describe('the caller’s signal', () => {
  it('ends the call at once with its own reason: running, queued, or between attempts', async () => {
    const metrics = counting();
    const reason = new Error('the request was closed');
    const policy = createPolicy(
      'psp',
      { bulkhead: { maxConcurrent: 1, queue: 1 }, retry: { attempts: 2, initialMs: 100 } },
      { metrics, random: () => 0 },
    );
    const between = new AbortController();
    const fn = jest.fn(down);
    const waiting = errorOf(policy.execute(fn, { signal: between.signal }));
    await pass(10);
    between.abort(reason);
    expect(await waiting).toBe(reason);
    await pass(100);
    expect(fn).toHaveBeenCalledTimes(1);

    const [running, queued] = [new AbortController(), new AbortController()];
    let seen: AbortSignal | undefined;
    const first = errorOf(
      policy.execute(({ signal }) => ((seen = signal), never()), { signal: running.signal }),
    );
    const second = errorOf(policy.execute(fn, { signal: queued.signal }));
    queued.abort(reason);
    expect(await second).toBe(reason);
    running.abort(reason);
    expect(await first).toBe(reason);
    expect(seen?.aborted).toBe(true);
    await pass(0);
    expect(policy.state()).toMatchObject({ running: 0, queued: 0 });

    expect(await errorOf(policy.execute(fn, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(fn).toHaveBeenCalledTimes(1);
    expect(new Set(metrics.calls)).toEqual(new Set(['psp: retried', 'psp: aborted']));
  });
});

describe('PolicyRegistry', () => {
  it('lists policies and their states, refuses a name twice, and tells of changes', async () => {
    const metrics = counting();
    const policies = new PolicyRegistry({ metrics });
    const changes: string[] = [];
    const stop = policies.onChange(({ policy, to }) => changes.push(`${policy}: ${to}`));
    const psp = policies.create('psp', { breaker: { consecutiveFailures: 1, halfOpenAfterMs: 1_000 } });
    policies.create('mail', {}, { metrics: counting() });
    await policies.get('mail')?.execute(async () => undefined);
    expect(() => policies.create('psp')).toThrow('A policy "psp" exists already');
    expect(policies.get('psp')).toBe(psp);
    expect(policies.assertClosed()).toBeUndefined();
    await errorOf(psp.execute(down));
    expect(policies.states()).toMatchObject([
      { name: 'psp', breaker: 'open' },
      { name: 'mail', breaker: 'closed' },
    ]);
    expect(() => policies.assertClosed()).toThrow(
      'Breakers are open: psp (last failure: connection refused)',
    );
    stop();
    await pass(1_000);
    await psp.execute(async () => undefined);
    expect(changes).toEqual(['psp: open']);
    expect(metrics.calls).toEqual(['psp: failed', 'psp: ok']);
  });
});

describe('the caller’s deadline', () => {
  const inMs = (ms: number): { deadline: number } => ({ deadline: Date.now() + ms });

  it('that has passed begins nothing', async () => {
    const fn = jest.fn(down);
    const metrics = counting();
    const policy = createPolicy('psp', {}, { metrics });
    expect(await errorOf(policy.execute(fn, inMs(0)))).toMatchObject({
      code: 'DEADLINE_EXCEEDED',
      retry: 'never',
      hadMs: 0,
      message: 'A call through policy "psp" was not made: its caller no longer waits',
    });
    expect(fn).not.toHaveBeenCalled();
    expect(metrics.calls).toEqual(['psp: deadline']);
  });

  it('comes out of the context of the running code, unless the call has one', async () => {
    const policy = createPolicy('psp', {}, { deadline: () => Date.now() });
    expect(await errorOf(policy.execute(async () => 1))).toBeInstanceOf(DeadlineExceededError);
    expect(await policy.execute(async ({ deadline }) => deadline, { deadline: Date.now() + 7 })).toBe(
      Date.now() + 7,
    );
  });

  it('stops an attempt before its time-out', async () => {
    const policy = createPolicy('psp', { timeoutMs: 100 });
    let signal: AbortSignal | undefined;
    const cut = errorOf(policy.execute((attempt) => ((signal = attempt.signal), never()), inMs(30)));
    await pass(29);
    expect(signal?.aborted).toBe(false);
    await pass(1);
    expect(await cut).toMatchObject({ code: 'DEADLINE_EXCEEDED', hadMs: 30 });
    expect(signal?.aborted).toBe(true);
  });

  it('lets no delay begin that would outlast it, and gives the error there is', async () => {
    const metrics = counting();
    const policy = createPolicy(
      'psp',
      { retry: { attempts: 5, initialMs: 100 } },
      { metrics, random: () => 1 },
    );
    const fn = jest.fn(down);
    const failed = errorOf(policy.execute(fn, inMs(250)));
    await pass(100);
    expect(await failed).toMatchObject({ message: 'connection refused' });
    expect(fn).toHaveBeenCalledTimes(2);
    expect(metrics.calls).toEqual(['psp: retried', 'psp: no deadline', 'psp: failed']);
  });

  it('ends each wait in the line at its own time, the earliest first', async () => {
    const policy = createPolicy('psp', { timeoutMs: false, bulkhead: { maxConcurrent: 1, queue: 4 } });
    const first = steered<string>();
    const running = policy.execute(first.fn);
    const ends: string[] = [];
    const wait = (name: string, ms: number): Promise<unknown> =>
      errorOf(policy.execute(down, inMs(ms))).then((error) => {
        ends.push(`${name} ${error instanceof DeadlineExceededError ? 'late' : String(error)}`);
      });
    const waits = [wait('long', 90), wait('short', 30), wait('shorter', 20)];
    const patient = policy.execute(async () => 'patient');
    const queued = (): number => policy.state().queued;
    await pass(19);
    expect([ends, queued()]).toEqual([[], 4]);
    await pass(1);
    expect([[...ends], queued()]).toEqual([['shorter late'], 3]);
    await pass(10);
    expect([[...ends], queued()]).toEqual([['shorter late', 'short late'], 2]);
    await pass(60);
    expect([[...ends], queued()]).toEqual([['shorter late', 'short late', 'long late'], 1]);
    first.resolve('done');
    expect(await Promise.all([running, patient])).toEqual(['done', 'patient']);
    await Promise.all(waits);
  });

  it('ends the wait for a place, and frees the place in the line', async () => {
    const policy = createPolicy('psp', { bulkhead: { maxConcurrent: 1, queue: 1 } });
    const first = steered<string>();
    const running = policy.execute(first.fn);
    const fn = jest.fn(down);
    const waiting = errorOf(policy.execute(fn, inMs(50)));
    expect(await errorOf(policy.execute(fn))).toBeInstanceOf(BulkheadFullError);
    await pass(50);
    expect(await waiting).toBeInstanceOf(DeadlineExceededError);
    expect(policy.state().queued).toBe(0);
    const next = policy.execute(async () => 'next');
    first.resolve('done');
    expect(await Promise.all([running, next])).toEqual(['done', 'next']);
    expect(fn).not.toHaveBeenCalled();
  });

  it('counts against the called side only when that had at least half of its time', async () => {
    const policy = createPolicy('psp', { timeoutMs: 100, breaker: { consecutiveFailures: 1 } });
    const hasty = errorOf(policy.execute(never, inMs(49)));
    await pass(49);
    await hasty;
    expect(policy.state().breaker).toBe('closed');
    const patient = errorOf(policy.execute(never, inMs(50)));
    await pass(50);
    await patient;
    expect(policy.state().breaker).toBe('open');
    // A trial that had too little time proves nothing: the breaker does not close.
    await pass(10_000);
    const trial = errorOf(policy.execute(never, inMs(10)));
    await pass(10);
    await trial;
    expect(policy.state().breaker).toBe('open');
  });
});

describe('a call that must not be repeated', () => {
  it('is not, whatever the policy would do', async () => {
    const policy = createPolicy('psp', { timeoutMs: false, retry: { attempts: 3, initialMs: 1 } });
    const fn = jest.fn(down);
    await errorOf(policy.execute(fn, { repeatable: () => false }));
    expect(fn).toHaveBeenCalledTimes(1);
  });
});
