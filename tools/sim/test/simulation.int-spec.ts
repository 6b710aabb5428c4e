import type { Figures } from '../src/figures.ts';
import { sim } from './run.ts';

/** What `npm test` can afford; `npm run sim` lives through 10,000, the nightly run through other ones each night. */
const SEEDS = 300;

describe('the simulated fleet', () => {
  it(`comes to rest with its books right in each of ${SEEDS} seeds`, async () => {
    const { code, out, err } = await sim('--seeds', String(SEEDS), '--json');
    // On a failure the trace and the command that replays it are there.
    expect({ code, err: code === 0 ? '' : err }).toEqual({ code: 0, err: '' });
    const { figures } = JSON.parse(out) as { figures: Figures };
    expect(figures).toMatchObject({ seeds: SEEDS, failed: 0 });
    // They are no seeds in which nothing happens.
    expect(Object.keys(figures.endings)).toEqual(
      expect.arrayContaining(['order cancelled', 'order completed', 'return completed']),
    );
    expect(Object.keys(figures.faults)).toEqual(
      expect.arrayContaining(['brokenCommit', 'crash', 'crashAtCommit', 'publishAckLost', 'providerForgets']),
    );
  }, 240_000);

  it('does the same in the same seed, in another process too', async () => {
    const traces = await Promise.all([1, 2].map(() => sim('--seed', '8', '--trace')));
    expect(traces.map(({ code }) => code)).toEqual([0, 0]);
    const [first, second] = traces.map(({ out }) =>
      out.split('\n').filter((line) => /^\s*\d+\.\d+s /.test(line)),
    );
    expect(first?.length).toBeGreaterThan(500);
    expect(second).toEqual(first);
  }, 60_000);

  it('is found out when a bug is planted, with a trace and the command that replays it', async () => {
    const { code, out, err } = await sim('--bug', 'outbox-outside-transaction');
    expect({ code, found: /was found in seed \d+/.test(err) }).toEqual({ code: 0, found: true });
    const replay = /replay: npm run sim -- --seed (\d+) --trace --bug outbox-outside-transaction/.exec(out);
    const seed = replay?.[1] ?? 'none';
    const again = await sim('--seed', seed, '--trace', '--bug', 'outbox-outside-transaction');
    expect(again.out).toContain(`seed ${seed} fails:`);
  }, 120_000);

  it('finds a compensation that is carried out twice', async () => {
    const { code, err } = await sim('--bug', 'compensation-twice');
    expect({ code, found: /was found in seed \d+/.test(err) }).toEqual({ code: 0, found: true });
  }, 120_000);
});

it('says what is wrong with a command line', async () => {
  expect(await sim('--bug', 'none')).toMatchObject({ code: 2, out: '' });
  expect(await sim('--trace')).toMatchObject({ code: 2, out: '' });
}, 30_000);
