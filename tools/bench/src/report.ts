import { formatDurationMs } from '@flotilla/kernel';
import type { Machine } from './machine.ts';
import type { BenchmarkResult, ResultRow, Scalar, StatementCost } from './result.ts';
import type { Figure } from './statistics.ts';

/** What one call of the command measured: the content of the JSON file. */
export interface Report {
  readonly format: 1;
  readonly startedAt: string;
  readonly machine: Machine;
  readonly settings: Readonly<Record<string, Scalar>>;
  readonly benchmarks: readonly BenchmarkResult[];
}

type Cells = readonly (readonly string[])[];

/** The report for a terminal. */
export function reportText(report: Report): string {
  return [
    machineLines(report).join('\n'),
    ...report.benchmarks.map((benchmark) =>
      [
        `${benchmark.id}) ${benchmark.title}`,
        ...tablesOf(benchmark).map((cells) => aligned(cells)),
        ...closing(benchmark),
      ].join('\n'),
    ),
  ].join('\n\n');
}

/** The report as Markdown, for docs/benchmarks.md. */
export function reportMarkdown(report: Report): string {
  return [
    machineLines(report)
      .map((line) => `- ${line}`)
      .join('\n'),
    ...report.benchmarks.flatMap((benchmark) => [
      `### (${benchmark.id}) ${benchmark.title}`,
      ...tablesOf(benchmark).map(piped),
      closing(benchmark)
        .map((line) => `- ${line}`)
        .join('\n'),
    ]),
  ].join('\n\n');
}

/** The table of figures and, where it is known, that of processor time by process. */
function tablesOf(benchmark: BenchmarkResult): Cells[] {
  const { rows, operation } = benchmark;
  const parameters = namesOf(rows, ({ parameters }) => parameters);
  const figures = namesOf(rows, ({ figures }) => figures);
  const processes = namesOf(rows, ({ cpuMs }) => cpuMs);
  const lead = (row: ResultRow): string[] => parameters.map((name) => String(row.parameters[name] ?? ''));
  const tables: Cells[] = [
    [
      [...parameters, ...figures],
      ...rows.map((row) => [...lead(row), ...figures.map((name) => cell(row.figures[name]))]),
    ],
  ];
  if (processes.length > 0) {
    const withCpu = rows.filter(({ cpuMs }) => Object.keys(cpuMs).length > 0);
    tables.push([
      [`CPU ms per ${operation}`, ...withCpu.map((row) => lead(row).join(' '))],
      ...processes.map((name) => [name, ...withCpu.map(({ cpuMs }) => cell(cpuMs[name]))]),
      [
        'all',
        ...withCpu.map(({ cpuMs }) =>
          rounded(Object.values(cpuMs).reduce((sum, { median }) => sum + median, 0)),
        ),
      ],
    ]);
  }
  if (benchmark.statements !== undefined) tables.push(statementTable(benchmark.statements));
  return tables;
}

function statementTable(statements: readonly StatementCost[]): Cells {
  return [
    ['statement', 'database', 'calls', 'total ms', 'mean ms', 'rows'],
    ...statements.map(({ text, database, calls, totalMs, meanMs, rows }) => [
      text.replaceAll(/\s+/g, ' ').slice(0, 110),
      database,
      calls.toLocaleString('en'),
      rounded(totalMs),
      rounded(meanMs),
      rows.toLocaleString('en'),
    ]),
  ];
}

function machineLines({ machine, settings, startedAt }: Report): string[] {
  const versions = Object.entries(machine.versions).map(([name, version]) => `${name} ${version}`);
  return [
    `${startedAt}, commit ${machine.commit}${machine.dirty ? ' with changes' : ''}`,
    `${machine.cpu}, ${machine.cores} cores, ${(machine.memoryBytes / 2 ** 30).toFixed(1)} GiB, ${machine.system}; load average before ${machine.loadBefore.toFixed(2)}`,
    versions.join(', '),
    Object.entries(settings)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
  ];
}

function closing({ settings, counts, notes, tookMs }: BenchmarkResult): string[] {
  const entries = (values: Readonly<Record<string, Scalar>>): string =>
    Object.entries(values)
      .map(([name, value]) => `${name} ${typeof value === 'number' ? value.toLocaleString('en') : value}`)
      .join(', ');
  return [
    ...(Object.keys(settings).length > 0 ? [`settings: ${entries(settings)}`] : []),
    ...(Object.keys(counts).length > 0 ? [`counted: ${entries(counts)}`] : []),
    ...notes,
    `took ${formatDurationMs(tookMs)}`,
  ];
}

function namesOf(
  rows: readonly ResultRow[],
  part: (row: ResultRow) => Readonly<Record<string, unknown>>,
): string[] {
  return [...new Set(rows.flatMap((row) => Object.keys(part(row))))];
}

/** The median and, where several runs differ, how far they lie apart. */
function cell(figure: Figure | undefined): string {
  if (figure === undefined) return '';
  const { median, min, max, runs } = figure;
  const [middle, least, most] = [rounded(median), rounded(min), rounded(max)];
  return runs.length < 2 || least === most ? middle : `${middle} (${least} to ${most})`;
}

/** Three significant digits, and all digits before the point. */
export function rounded(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toLocaleString('en', {
    minimumFractionDigits: Math.min(digits, 3),
    maximumFractionDigits: Math.min(digits, 3),
  });
}

function aligned(cells: Cells): string {
  const columns = cells[0]?.length ?? 0;
  const widths = Array.from({ length: columns }, (_, at) =>
    Math.max(...cells.map((row) => (row[at] ?? '').length)),
  );
  return cells
    .map((row) =>
      row
        .map((text, at) => (at === 0 ? text.padEnd(widths[at] ?? 0) : text.padStart(widths[at] ?? 0)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function piped(cells: Cells): string {
  const line = (row: readonly string[]): string =>
    `| ${row.map((text) => text.replaceAll('|', '\\|')).join(' | ')} |`;
  const [head = [], ...rows] = cells;
  return [line(head), line(head.map((_, at) => (at === 0 ? '---' : '---:'))), ...rows.map(line)].join('\n');
}
