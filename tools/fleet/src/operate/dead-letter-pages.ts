import type { AuditEntry, DeadLetter } from '@flotilla/messaging';
import type { DryRunReport } from '@flotilla/service';
import { parsed, textOf } from './dead-letter-desk.ts';
import { maskSecrets } from './mask-secrets.ts';

/** A dead letter as facts, its body as JSON where it is some, secrets masked. */
export function letterFacts(letter: DeadLetter): object {
  const { body: _body, ...facts } = letter;
  return maskSecrets({ ...facts, body: parsed(textOf(letter)) }) as object;
}

/** What a rehearsal found, on one page. */
export function describeDryRun(report: DryRunReport): string {
  if (!report.possible) return `It cannot be rehearsed: ${report.why}.`;
  if (report.handledBefore)
    return 'It was handled before: sent back, it is recognised and changes nothing. It can be dropped.';
  const { outcome, error, reply, tables, messages, afterCommit } = report;
  const words = {
    ok: 'It would be handled.',
    refused: `It would be refused, which is an answer: ${error?.code ?? ''}: ${error?.message ?? ''}`,
    failed: `It would fail again: ${error?.code ?? ''}: ${error?.message ?? ''}`,
  };
  return [
    `${words[outcome]} Nothing was changed or sent.`,
    ...(reply === undefined || reply === null ? [] : [`reply    ${JSON.stringify(maskSecrets(reply))}`]),
    ...tables.flatMap(({ table, inserted, updated, deleted, rows, notShown }) => [
      `table    ${table}: ${inserted} inserted, ${updated} updated, ${deleted} deleted${notShown === undefined ? '' : ` (${notShown})`}`,
      ...rows.map(({ before, after }) => `         ${rowLine(before, after)}`),
    ]),
    ...messages.map(
      ({ type, subject, body }) => `sends    ${type} to ${subject}: ${JSON.stringify(maskSecrets(body))}`,
    ),
    ...(afterCommit === 0 ? [] : [`after    ${afterCommit} action(s) after the commit, not carried out`]),
  ].join('\n');
}

/** The header and rows of a table of acts. */
export function historyRows(acts: readonly AuditEntry[]): [string[], string[][]] {
  return [
    ['at', 'by', 'action', 'target', 'reason', 'detail'],
    acts.map(({ at, by, via, action, target, reason, detail }) => [
      at.slice(0, 19),
      via === 'cli' ? by : `${by} (${via})`,
      action,
      target,
      reason ?? '',
      detailText(detail),
    ]),
  ];
}

function rowLine(
  before: Readonly<Record<string, unknown>> | null,
  after: Readonly<Record<string, unknown>> | null,
): string {
  if (after === null) return `- ${JSON.stringify(maskSecrets(before))}`;
  if (before === null) return `+ ${JSON.stringify(maskSecrets(after))}`;
  const [then, now] = [maskSecrets(before), maskSecrets(after)] as Record<string, unknown>[];
  const changes = Object.keys(after)
    .filter((column) => JSON.stringify(before[column]) !== JSON.stringify(after[column]))
    .map((column) => `${column} ${JSON.stringify(then?.[column])} -> ${JSON.stringify(now?.[column])}`);
  return `~ ${changes.length === 0 ? 'written, and the same as before' : changes.join(', ')}`;
}

function detailText(detail: AuditEntry['detail']): string {
  const { before: _before, after: _after, messageId: _id, ...rest } = detail;
  return Object.entries(maskSecrets(rest) as Record<string, unknown>)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
}
