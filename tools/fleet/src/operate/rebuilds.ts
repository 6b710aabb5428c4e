/** The rebuild of one view, as its service tells of it. */
export interface RebuildFacts {
  readonly projection: string;
  readonly id: string;
  readonly version: number;
  readonly status: string;
  readonly options: { readonly dryRun: boolean; readonly accept: string; readonly keepOld: boolean };
  readonly cursors: Readonly<Record<string, { readonly sequence: number; readonly outbox?: string }>>;
  readonly events: number;
  readonly skipped: readonly {
    readonly messageId: string;
    readonly type: string;
    readonly error: string;
  }[];
  readonly report: {
    readonly rows: number;
    readonly missing: number;
    readonly added: number;
    readonly changed: number;
    readonly headless: number;
    readonly carriedOver: number;
    readonly differences: readonly {
      readonly table: string;
      readonly key: object;
      readonly kind: string;
      readonly live: unknown;
      readonly shadow: unknown;
    }[];
  } | null;
  readonly problem: string | null;
  readonly startedAt: string;
  readonly endedAt: string | null;
}

const UNDER_WAY: ReadonlySet<string> = new Set(['reading', 'comparing', 'swapping']);
const WELL_ENDED: ReadonlySet<string> = new Set(['swapped', 'compared']);

/** Whether it is still at work. */
export function isUnderWay({ status }: RebuildFacts): boolean {
  return UNDER_WAY.has(status);
}

/** Whether it ended as it was meant to. */
export function endedWell({ status }: RebuildFacts): boolean {
  return WELL_ENDED.has(status);
}

/** One line about where it stands. */
export function rebuildLine({
  projection,
  version,
  status,
  events,
  report,
  skipped,
  problem,
}: RebuildFacts): string {
  const counts = report
    ? `; ${report.rows} rows compared: ${report.changed} changed, ${report.missing} missing, ${report.added} new` +
      (report.carriedOver > 0 ? `, ${report.carriedOver} taken over from before` : '')
    : '';
  const left = skipped.length > 0 ? `; ${skipped.length} events skipped` : '';
  return `${projection} v${version}: ${status}, ${events} events read${counts}${left}${problem === null ? '' : `\n  ${problem}`}`;
}

/** The differences, a line each. */
export function differenceLines({ report }: RebuildFacts): string[] {
  return (report?.differences ?? []).map(({ table, key, kind, live, shadow }) =>
    kind === 'changed'
      ? `  ${table} ${JSON.stringify(key)}: ${changesBetween(live, shadow)}`
      : `  ${table} ${JSON.stringify(key)}: ${kind === 'missing' ? 'only in the live view' : 'only in the rebuilt one'}`,
  );
}

function changesBetween(live: unknown, shadow: unknown): string {
  const before = (live ?? {}) as Record<string, unknown>;
  const after = (shadow ?? {}) as Record<string, unknown>;
  return Object.keys({ ...before, ...after })
    .filter((column) => JSON.stringify(before[column]) !== JSON.stringify(after[column]))
    .map((column) => `${column} ${JSON.stringify(before[column])} -> ${JSON.stringify(after[column])}`)
    .join(', ');
}
