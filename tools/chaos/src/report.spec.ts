import { failuresOf, reportMarkdown, reportText, type ChaosReport, type InjectedFault } from './report.ts';

const fault: InjectedFault = {
  name: 'kill-service',
  done: 'orders was killed',
  times: 1,
  liveSagas: 3,
  orders: 20,
  recoveryMs: 2_000,
  seen: 'orders: restarts 1',
  failures: [],
};
const report: ChaosReport = {
  format: 1,
  startedAt: '2026-01-01T00:00:00.000Z',
  tookMs: 60_000,
  machine: {
    cpu: 'a processor',
    cores: 2,
    memoryBytes: 1,
    system: 'linux',
    loadBefore: 0.5,
    commit: 'abc',
    dirty: false,
    versions: {},
  },
  settings: { seed: 1 },
  worlds: [
    {
      kind: 'single',
      faults: [
        fault,
        { ...fault, recoveryMs: 4_000, liveSagas: 5 },
        { ...fault, name: 'pause', recoveryMs: 500 },
      ],
      orders: {
        sent: 60,
        accepted: 60,
        byStatus: { completed: 58, rejected: 2 },
        cancelsAccepted: 1,
        returnsAccepted: 2,
        requestsRepeated: 9,
      },
      lost: 0,
      duplicated: 0,
      poison: 4,
      settledMs: 900,
      checks: [{ name: 'the ledger balances', ok: true, differences: [] }],
      failures: [],
    },
  ],
  broken: [],
  notInjected: { 'cluster-cut': 'a network namespace needs Linux and root' },
};
const [world] = report.worlds;
if (world === undefined) throw new Error('There is no world');

it('adds up the faults of a kind', () => {
  const text = reportText(report);
  expect(text).toMatch(/^kill-service +2 +2 +8 +40 +2\.0s, 4\.0s$/m);
  expect(text).toMatch(/^pause +1 +1 +3 +20 +500ms$/m);
  expect(text).toContain('60 orders (58 completed, 2 rejected)');
  expect(text).toContain('lost = 0, duplicated = 0');
  expect(text).toContain('not injected: cluster-cut, a network namespace needs Linux and root');
  expect(text).toMatch(/passed, took 1m 0s$/);
});

it('is a table in Markdown, with what an operator saw', () => {
  expect(reportMarkdown(report)).toContain(
    '| kill-service | 2 | 2 | 8 | 40 | 2.0s, 4.0s | orders: restarts 1 |',
  );
});

it.each([
  ['a loss', { lost: 1 }, 'single: 1 orders lost'],
  ['a duplicate', { duplicated: 2 }, 'single: 2 duplicated'],
  [
    'a check that does not hold',
    { checks: [{ name: 'the ledger balances', ok: false, differences: ['t-1'] }] },
    'single: the ledger balances: t-1',
  ],
  ['a failure of the end', { failures: ['not all orders have ended'] }, 'single: not all orders have ended'],
  [
    'a failure of a fault',
    { faults: [{ ...fault, failures: ['not seen'] }] },
    'single, kill-service: not seen',
  ],
])('fails for %s', (_, changed, failure) => {
  const broken = { ...report, worlds: [{ ...world, ...changed }] };
  expect(failuresOf(broken)).toEqual([failure]);
  expect(reportText(broken)).toContain(`FAILED: ${failure}`);
});

it('fails when a fleet came to no end, and tells what the other has shown', () => {
  const half = { ...report, broken: ['cluster: no suitable peers'] };
  expect(failuresOf(half)).toEqual(['cluster: no suitable peers']);
  expect(reportText(half)).toMatch(/^kill-service .*one NATS server: .*FAILED: cluster: no suitable peers/ms);
});

it('does not fail otherwise', () => expect(failuresOf(report)).toEqual([]));
