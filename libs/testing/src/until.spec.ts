import { until, UntilTimedOutError } from './until.ts';

async function failureOf(promise: Promise<unknown>): Promise<UntilTimedOutError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof UntilTimedOutError) return error;
    throw error;
  }
  throw new Error('it did not time out');
}

describe('until', () => {
  it('returns the first answer that is one, also 0 and the empty string', async () => {
    const answers = [false, null, undefined, 0];
    expect(await until(() => answers.shift(), { intervalMs: 1 })).toBe(0);
    expect(await until(() => '')).toBe('');
    expect(answers).toEqual([]);
  });

  it('goes on after an error', async () => {
    let attempts = 0;
    const answer = await until(
      () => {
        attempts += 1;
        if (attempts < 3) throw new Error('not yet');
        return Promise.resolve('done');
      },
      { intervalMs: 1 },
    );
    expect([answer, attempts]).toEqual(['done', 3]);
  });

  it('says what it waited for and what the last answer was', async () => {
    const error = await failureOf(
      until(() => null, { timeoutMs: 20, intervalMs: 5, describe: 'the order ships' }),
    );
    expect(error.message).toMatch(
      /^Waited 20 ms until the order ships; it did not happen\. After \d+ attempts: the last answer was null\.$/,
    );
    expect(error.code).toBe('UNTIL_TIMED_OUT');
  });

  it('carries the last error', async () => {
    const refused = new Error('connection refused');
    const error = await failureOf(
      until(
        () => {
          throw refused;
        },
        { timeoutMs: 10, intervalMs: 1 },
      ),
    );
    expect(error.message).toContain('the last one threw connection refused');
    expect(error.cause).toBe(refused);
  });

  it('does not wait for an attempt that hangs', async () => {
    const error = await failureOf(until(() => new Promise<true>(() => undefined), { timeoutMs: 20 }));
    expect(error.message).toContain('After 0 attempts: no attempt ended');
  });
});
