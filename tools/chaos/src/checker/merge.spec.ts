import { together, UnsortedSourceError, type Source } from './merge.ts';

const source = (...rows: [string, number][]): Source<[string, number]> => ({ rows, keyOf: ([key]) => key });

describe('what several sources say of the same key', () => {
  it('comes together, key by key, with nothing where a source has nothing', async () => {
    const found = [];
    const sources = {
      a: source(['k1', 1], ['k1', 2], ['k3', 3]),
      b: source(['k2', 4], ['k3', 5]),
      c: source(),
    };
    for await (const [key, rows] of together(sources)) found.push([key, rows]);
    expect(found).toEqual([
      [
        'k1',
        {
          a: [
            ['k1', 1],
            ['k1', 2],
          ],
          b: [],
          c: [],
        },
      ],
      ['k2', { a: [], b: [['k2', 4]], c: [] }],
      ['k3', { a: [['k3', 3]], b: [['k3', 5]], c: [] }],
    ]);
  });

  it('is read no further than it is asked for', async () => {
    let read = 0;
    const endless = {
      rows: (function* () {
        for (;;) yield [`k${String((read += 1)).padStart(6, '0')}`, read] as [string, number];
      })(),
      keyOf: ([key]: [string, number]) => key,
    };
    for await (const [key] of together({ endless })) if (key === 'k000010') break;
    expect(read).toBeLessThan(20);
  });

  it('is refused when a source is not sorted', async () => {
    const all = async (): Promise<void> => {
      for await (const _ of together({ a: source(['k2', 1], ['k1', 2]) }));
    };
    await expect(all()).rejects.toThrow(UnsortedSourceError);
  });

  it('is sorted by bytes, as COLLATE "C" does it', async () => {
    const keys = [];
    for await (const [key] of together({ a: source(['\uff5e', 1], ['\u{1f600}', 2]) })) keys.push(key);
    expect(keys).toEqual(['\uff5e', '\u{1f600}']);
  });
});
