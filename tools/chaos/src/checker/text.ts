import type { CheckReport } from './report.ts';

/** Violations of one check that are shown. */
const SHOWN = 10;

/** The report for a person. */
export function reportText({ ok, tookMs, orders, lost, duplicated, checks, notes }: CheckReport): string {
  const width = Math.max(...checks.map(({ name }) => name.length));
  const { accepted, found, completed, rejected, cancelled, open } = orders;
  const failed = checks.filter((each) => !each.ok).length;
  return [
    ...checks.flatMap(({ name, ok: holds, counted, violated, violations, meaning }) => [
      `${holds ? 'ok    ' : 'FAILED'}  ${name.padEnd(width)}  ${counted} looked at${holds ? '' : `, ${violated} wrong: ${meaning}`}`,
      ...violations.slice(0, SHOWN).map(({ about, what }) => `          - ${about}: ${what}`),
      ...(violated > SHOWN ? [`          - and ${violated - Math.min(SHOWN, violations.length)} more`] : []),
    ]),
    ...notes.map((note) => `note    ${note}`),
    `Orders: ${accepted} accepted, ${found} found, ${completed} completed, ${rejected} rejected, ${cancelled} cancelled, ${open} open`,
    `lost = ${lost}, duplicated = ${duplicated}`,
    ok
      ? `All ${checks.length} checks hold (${(tookMs / 1_000).toFixed(1)} s).`
      : `${failed} of ${checks.length} checks failed (${(tookMs / 1_000).toFixed(1)} s).`,
  ].join('\n');
}
