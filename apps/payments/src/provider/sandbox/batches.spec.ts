import { Batches } from './batches.ts';

interface Run {
  readonly requests: readonly string[];
  readonly answer: () => void;
  readonly fail: (error: Error) => void;
}

function batchesUnderControl(limit = 10): { batches: Batches<string, string>; runs: Run[] } {
  const runs: Run[] = [];
  const batches = new Batches<string, string>({
    limit,
    laneOf: (request) => request[0] ?? '',
    run: (requests) =>
      new Promise((resolve, reject) => {
        runs.push({ requests, answer: () => resolve(requests.map((each) => `${each}!`)), fail: reject });
      }),
  });
  return { batches, runs };
}

describe('Batches', () => {
  it('runs a single request at once, and what comes meanwhile together', async () => {
    const { batches, runs } = batchesUnderControl();
    const first = batches.submit('a');
    const second = batches.submit('b');
    const third = batches.submit('c');
    expect(runs.map(({ requests }) => requests)).toEqual([['a']]);
    runs[0]?.answer();
    expect(await first).toBe('a!');
    runs[1]?.answer();
    expect(await Promise.all([second, third])).toEqual(['b!', 'c!']);
    expect(runs[1]?.requests).toEqual(['b', 'c']);
  });

  it('keeps requests of one lane apart and in order, and a batch within its limit', async () => {
    const { batches, runs } = batchesUnderControl(2);
    const all = Promise.all(['x', 'a1', 'a2', 'b1', 'c1', 'a3'].map((each) => batches.submit(each)));
    for (let index = 0; index < 4; index += 1) {
      runs[index]?.answer();
      // One turn of the event loop lets the next batch begin.
      await new Promise(setImmediate);
    }
    expect(await all).toEqual(['x!', 'a1!', 'a2!', 'b1!', 'c1!', 'a3!']);
    expect(runs.map(({ requests }) => requests)).toEqual([['x'], ['a1', 'b1'], ['a2', 'c1'], ['a3']]);
  });

  it('fails those of a failed batch only', async () => {
    const { batches, runs } = batchesUnderControl();
    const first = batches.submit('a');
    const second = batches.submit('b');
    runs[0]?.fail(new Error('broken'));
    await expect(first).rejects.toThrow('broken');
    runs[1]?.answer();
    expect(await second).toBe('b!');
  });
});
