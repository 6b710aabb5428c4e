import { reportMarkdown, reportText, rounded, type Report } from './report.ts';
import { per, Rows } from './result.ts';

function reportOf(): Report {
  const rows = new Rows();
  rows.add(
    { 'in flight': 1 },
    { figures: { 'sagas/s': 60.04, 'median ms': 15 }, cpuMs: { owner: 2, nats: 0.5 } },
  );
  rows.add(
    { 'in flight': 32 },
    { figures: { 'sagas/s': 1_234.5, 'median ms': 40 }, cpuMs: per(2, { owner: 3, nats: 1 }) },
  );
  rows.add(
    { 'in flight': 1 },
    { figures: { 'sagas/s': 50, 'median ms': 17 }, cpuMs: { owner: 4, nats: 0.5 } },
  );
  return {
    format: 1,
    startedAt: '2026-01-01T00:00:00.000Z',
    machine: {
      cpu: 'Some CPU',
      cores: 2,
      memoryBytes: 8 * 2 ** 30,
      system: 'linux 6.1',
      loadBefore: 0.1,
      commit: 'abc',
      dirty: true,
      versions: { node: '24.0.0' },
    },
    settings: { runs: 2 },
    benchmarks: [
      {
        id: 'c',
        title: 'a saga',
        operation: 'saga',
        settings: { steps: 4 },
        rows: rows.finish(),
        counts: { 'sagas completed': 12_000 },
        notes: ['A note.'],
        statements: [
          { database: 'bench', calls: 5, totalMs: 10, meanMs: 2, rows: 5, text: 'SELECT a\n  | b' },
        ],
        tookMs: 4_000,
      },
    ],
  };
}

it('prints tables for a terminal: the median of the runs and their spread', () => {
  expect(reportText(reportOf()).split('\n').slice(5, 14)).toEqual([
    'c) a saga',
    'in flight              sagas/s            median ms',
    '1          55.0 (50.0 to 60.0)  16.0 (15.0 to 17.0)',
    '32                       1,235                 40.0',
    'CPU ms per saga                    1     32',
    'owner            3.00 (2.00 to 4.00)   1.50',
    'nats                           0.500  0.500',
    'all                             3.50   2.00',
    'statement     database  calls  total ms  mean ms  rows',
  ]);
});

it('prints the same as Markdown', () => {
  const lines = reportMarkdown(reportOf()).split('\n');
  expect(lines).toContain('- 2026-01-01T00:00:00.000Z, commit abc with changes');
  expect(lines).toContain('### (c) a saga');
  expect(lines).toContain('| in flight | sagas/s | median ms |');
  expect(lines).toContain('| --- | ---: | ---: |');
  expect(lines).toContain('| 32 | 1,235 | 40.0 |');
  expect(lines).toContain('| SELECT a \\| b | bench | 5 | 10.0 | 2.00 | 5 |');
  expect(lines).toContain('- counted: sagas completed 12,000');
});

it.each([
  [0, '0'],
  [0.01234, '0.012'],
  [0.5, '0.500'],
  [9.876, '9.88'],
  [55.04, '55.0'],
  [1_234.5, '1,235'],
])('rounds %d to %s', (value, text) => {
  expect(rounded(value)).toBe(text);
});
