import { figureOf, type Figure } from './statistics.ts';

export type BenchmarkId = 'a' | 'b' | 'c' | 'd' | 'e' | 'f' | 'g';
export type Scalar = string | number | boolean;

/** One line of a benchmark's table: what was run, and what was measured, over all runs. */
export interface ResultRow {
  /** What tells the rows of a table apart: who (`series`), how many in flight, at which rate. */
  readonly parameters: Readonly<Record<string, Scalar>>;
  /** By name; the name ends in its unit. */
  readonly figures: Readonly<Record<string, Figure>>;
  /** Processor time per operation in milliseconds, by process; empty where the system does not tell. */
  readonly cpuMs: Readonly<Record<string, Figure>>;
}

export interface BenchmarkResult {
  readonly id: BenchmarkId;
  readonly title: string;
  /** What one operation is, for "CPU ms per ...". */
  readonly operation: string;
  readonly settings: Readonly<Record<string, Scalar>>;
  readonly rows: readonly ResultRow[];
  /** What was counted and added up. */
  readonly counts: Readonly<Record<string, number>>;
  readonly notes: readonly string[];
  /** With `--pg-stat`: what Postgres spent its time on, the most expensive first. */
  readonly statements?: readonly StatementCost[];
  readonly tookMs: number;
}

/** One statement of pg_stat_statements. */
export interface StatementCost {
  readonly database: string;
  readonly calls: number;
  readonly totalMs: number;
  readonly meanMs: number;
  readonly rows: number;
  readonly text: string;
}

/** What one run of one row measured. */
export interface RunFigures {
  readonly figures: Readonly<Record<string, number>>;
  readonly cpuMs?: Readonly<Record<string, number>>;
}

/** Gathers runs into rows; rows stand in the order in which they first came. */
export class Rows {
  readonly #rows = new Map<string, { parameters: Record<string, Scalar>; runs: RunFigures[] }>();

  add(parameters: Record<string, Scalar>, run: RunFigures): void {
    const key = JSON.stringify(parameters);
    const row = this.#rows.get(key) ?? { parameters, runs: [] };
    row.runs.push(run);
    this.#rows.set(key, row);
  }

  finish(): ResultRow[] {
    return [...this.#rows.values()].map(({ parameters, runs }) => ({
      parameters,
      figures: gather(runs.map(({ figures }) => figures)),
      cpuMs: gather(runs.map(({ cpuMs }) => cpuMs ?? {})),
    }));
  }
}

/** By name, the figure of those runs that have it. */
function gather(runs: readonly Readonly<Record<string, number>>[]): Record<string, Figure> {
  const names = [...new Set(runs.flatMap((run) => Object.keys(run)))];
  return Object.fromEntries(
    names.map((name) => [name, figureOf(runs.flatMap((run) => run[name] ?? []))] as const),
  );
}

/** Divides each value, for "per operation". */
export function per(count: number, values: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value / count]));
}
