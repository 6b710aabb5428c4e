import { formatDurationMs } from '@flotilla/kernel';
import type { Machine } from '@flotilla/bench/machine';
import type { Fault } from './faults/fault.ts';
import type { WorldKind } from './world.ts';

/** One fault that was injected. */
export interface InjectedFault {
  readonly name: string;
  readonly done: string;
  readonly times: number;
  /** Sagas that had not ended and waited for what the fault disturbed, when it was injected. */
  readonly liveSagas: number;
  /** Orders sent from the injection until recovery. */
  readonly orders: number;
  /** From the end of the fault until all orders sent before that have ended and no more are open than usual. */
  readonly recoveryMs: number | undefined;
  /** What an operator saw. */
  readonly seen: string | undefined;
  /** What was not as it should be. */
  readonly failures: readonly string[];
}

/** What became of one world. */
export interface WorldReport {
  readonly kind: WorldKind;
  readonly faults: readonly InjectedFault[];
  readonly orders: {
    readonly sent: number;
    readonly accepted: number;
    readonly byStatus: Readonly<Record<string, number>>;
    readonly cancelsAccepted: number;
    readonly returnsAccepted: number;
    readonly requestsRepeated: number;
  };
  /** Accepted and not there, or not ended. */
  readonly lost: number;
  /** Orders, money, goods or mails beyond what was asked for. */
  readonly duplicated: number;
  readonly poison: number;
  /** How long after the last fault and order until everything had ended, in milliseconds. */
  readonly settledMs: number;
  readonly checks: readonly {
    readonly name: string;
    readonly ok: boolean;
    /** How many things were looked at, where the check says so. */
    readonly counted?: number;
    readonly differences: readonly string[];
  }[];
  readonly failures: readonly string[];
}

export interface ChaosReport {
  readonly format: 1;
  readonly startedAt: string;
  readonly tookMs: number;
  readonly machine: Machine;
  readonly settings: Readonly<Record<string, string | number>>;
  readonly worlds: readonly WorldReport[];
  /** Fleets whose run came to no end, and why. */
  readonly broken: readonly string[];
  /** Kinds that were asked for and not injected, and why. */
  readonly notInjected: Readonly<Record<string, string>>;
}

/** Everything that was not as it should be; empty: the run has passed. */
export function failuresOf({ worlds, broken }: Pick<ChaosReport, 'worlds' | 'broken'>): string[] {
  const found = worlds.flatMap(({ kind, faults, failures, checks, lost, duplicated }) => [
    ...faults.flatMap(({ name, failures: each }) => each.map((text) => `${kind}, ${name}: ${text}`)),
    ...failures.map((text) => `${kind}: ${text}`),
    ...(lost > 0 ? [`${kind}: ${lost} orders lost`] : []),
    ...(duplicated > 0 ? [`${kind}: ${duplicated} duplicated`] : []),
    ...checks
      .filter(({ ok }) => !ok)
      .map(({ name, differences }) => `${kind}: ${name}: ${differences.slice(0, 5).join('; ')}`),
  ]);
  return [...found, ...broken];
}

/** One line of the table of faults. */
interface Row {
  readonly name: string;
  readonly injected: number;
  readonly times: number;
  readonly liveSagas: number;
  readonly orders: number;
  readonly recoveriesMs: readonly number[];
  readonly seen: string;
}

function rowsOf({ worlds }: ChaosReport): Row[] {
  const rows = new Map<string, Row>();
  for (const fault of worlds.flatMap(({ faults }) => faults)) {
    const before = rows.get(fault.name);
    rows.set(fault.name, {
      name: fault.name,
      injected: (before?.injected ?? 0) + 1,
      times: (before?.times ?? 0) + fault.times,
      liveSagas: (before?.liveSagas ?? 0) + fault.liveSagas,
      orders: (before?.orders ?? 0) + fault.orders,
      recoveriesMs: [
        ...(before?.recoveriesMs ?? []),
        ...(fault.recoveryMs === undefined ? [] : [fault.recoveryMs]),
      ],
      seen: fault.seen ?? before?.seen ?? '',
    });
  }
  return [...rows.values()];
}

const HEAD = [
  'fault',
  'injected',
  'times',
  'live sagas hit',
  'orders meanwhile',
  'recovered after (median, longest)',
];

function cellsOf({ name, injected, times, liveSagas, orders, recoveriesMs }: Row): string[] {
  const sorted = [...recoveriesMs].sort((a, b) => a - b);
  const median = sorted[Math.floor((sorted.length - 1) / 2)];
  const longest = sorted.at(-1);
  const recovered =
    median === undefined || longest === undefined
      ? 'not in time'
      : sorted.length === 1
        ? formatDurationMs(median)
        : `${formatDurationMs(median)}, ${formatDurationMs(longest)}`;
  return [name, String(injected), String(times), String(liveSagas), String(orders), recovered];
}

function summary(report: ChaosReport): string[] {
  const { worlds, machine, settings, startedAt, tookMs, notInjected } = report;
  const failures = failuresOf(report);
  return [
    `${startedAt}, commit ${machine.commit}${machine.dirty ? ' with changes' : ''}, ${machine.cpu}, ${machine.cores} cores; load average before ${machine.loadBefore.toFixed(2)}`,
    Object.entries(settings)
      .map(([name, value]) => `${name} ${value}`)
      .join(', '),
    ...worlds.map(({ kind, orders, lost, duplicated, faults, poison, settledMs, checks }) => {
      const statuses = Object.entries(orders.byStatus)
        .map(([status, count]) => `${count} ${status}`)
        .join(', ');
      return (
        `${kind === 'single' ? 'one NATS server' : 'three NATS servers'}: ${faults.length} faults, ` +
        `${orders.accepted} orders (${statuses}), ${orders.cancelsAccepted} cancelled by customers, ` +
        `${orders.returnsAccepted} returns, ${orders.requestsRepeated} requests repeated; lost = ${lost}, duplicated = ${duplicated}; ` +
        `${poison} poisonous messages, each a dead letter and nothing else; all over ${formatDurationMs(settledMs)} after the last order; ` +
        `${checks.filter(({ ok }) => ok).length} of ${checks.length} checks hold`
      );
    }),
    ...Object.entries(notInjected).map(([name, why]) => `not injected: ${name}, ${why}`),
    ...failures.map((failure) => `FAILED: ${failure}`),
    `${failures.length === 0 ? 'passed' : `${failures.length} failures`}, took ${formatDurationMs(tookMs)}`,
  ];
}

/** The report for a terminal. */
export function reportText(report: ChaosReport): string {
  const cells = [HEAD, ...rowsOf(report).map(cellsOf)];
  const widths = HEAD.map((_, at) => Math.max(...cells.map((row) => (row[at] ?? '').length)));
  const table = cells.map((row) =>
    row
      .map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0)))
      .join('  ')
      .trimEnd(),
  );
  return [...table, '', ...summary(report)].join('\n');
}

/** The report as Markdown, for docs/reliability.md. */
export function reportMarkdown(report: ChaosReport): string {
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [
    line([...HEAD, 'seen']),
    line([...HEAD, ''].map((_, at) => (at === 0 || at === HEAD.length ? '---' : '---:'))),
    ...rowsOf(report).map((row) => line([...cellsOf(row), row.seen])),
    '',
    ...summary(report).map((each) => `- ${each}`),
  ].join('\n');
}

/** The kinds of faults, for `--list`. */
export function listText(kinds: readonly Fault[]): string {
  return kinds
    .map(({ name, what, holds, seen, needs }) =>
      [
        `${name}${needs === 'cluster' ? ' (three NATS servers)' : ''}`,
        `  ${what}`,
        `  holds: ${holds}`,
        `  seen:  ${seen}`,
      ].join('\n'),
    )
    .join('\n\n');
}
