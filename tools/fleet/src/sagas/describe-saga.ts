import { formatDurationMs, systemClock } from '@flotilla/kernel';
import { waitingFor, type HistoryEntry, type HistoryKind, type SagaInstance } from '@flotilla/saga';
import { maskSecrets } from '../operate/mask-secrets.ts';
import type { OwnedSaga } from '../operate/saga-owners.ts';
import { table } from '../terminal.ts';
import type { DeclaredSaga } from './saga-definitions.ts';

/** What an instance waits for, as exactly as the declarations at hand allow. */
export function sentenceFor(instance: SagaInstance, sagas: readonly DeclaredSaga[]): string {
  const definition = sagas.find(
    ({ name, version }) => name === instance.saga && version === instance.version,
  );
  return waitingFor(definition, instance, systemClock.now());
}

/** One saga on one page: where it is, why, and what has happened to it. */
export function describeSaga(
  { service, instance }: OwnedSaga,
  history: readonly HistoryEntry[],
  sagas: readonly DeclaredSaga[],
  why = sentenceFor(instance, sagas),
): string {
  return [
    `${instance.saga} v${instance.version} of ${instance.id}, run by ${service}`,
    `status    ${instance.status}${instance.step === null ? '' : `, at step ${instance.step}`}, revision ${instance.revision}`,
    `waits for ${why}`,
    ...branchLines(instance),
    `started   ${time(instance.startedAt)}${instance.endedAt === null ? '' : `, ended ${time(instance.endedAt)}`}`,
    ...reasonLines(instance),
    ...nextSteps(instance),
    `data      ${JSON.stringify(maskSecrets(instance.data))}`,
    '',
    table(
      ['at', 'after', 'what', 'step', 'detail'],
      history.map(({ at, kind, step, detail }) => [
        time(at),
        formatDurationMs(Math.max(0, at - instance.startedAt)),
        words[kind],
        step ?? '',
        detailText(detail),
      ]),
    ),
  ].join('\n');
}

/** How the history names what happened. */
const words: Readonly<Record<HistoryKind, string>> = {
  started: 'started',
  replied: 'answered',
  refused: 'refused',
  failed: 'failed',
  'timed-out': 'no answer',
  resent: 'sent again',
  ran: 'done here',
  event: 'event came',
  'event-buffered': 'event kept for later',
  'event-ignored': 'event not needed',
  signal: 'signal came',
  'signal-ignored': 'signal not needed',
  'reply-ignored': 'answer not needed',
  fallback: 'tries instead',
  'deadline-passed': 'time is over',
  'cancel-requested': 'cancellation asked for',
  'cancel-refused': 'cancellation refused',
  migrated: 'carried over',
  compensating: 'turned around',
  undone: 'undone',
  'undo-skipped': 'left as it is',
  parked: 'parked',
  resumed: 'went on',
  completed: 'completed',
  compensated: 'compensated',
};

function detailText(detail: HistoryEntry['detail']): string {
  if (detail === null) return '';
  const { code, message, ...rest } = maskSecrets(detail) as Record<string, unknown>;
  const reason = [code, message === code ? undefined : message].filter((part) => typeof part === 'string');
  const others = Object.entries(rest).map(
    ([name, value]) => `${name} ${typeof value === 'string' ? value : JSON.stringify(value)}`,
  );
  return [...(reason.length > 0 ? [reason.join(': ')] : []), ...others].join(', ');
}

function branchLines({ branches }: SagaInstance): string[] {
  return branches.map(
    ({ step, waiting, attempt, parked }) =>
      `branch    ${step}: ${parked === null ? `waits for ${waiting ?? 'nothing'}, try ${attempt}` : `parked, ${parked.code}: ${parked.message}`}`,
  );
}

function reasonLines(instance: SagaInstance): string[] {
  const { reason, parked, cancel, cancelRefused, failing, undo, correlationId } = instance;
  return [
    ...(reason === null ? [] : [`because   ${reason.code}: ${reason.message}`]),
    ...(failing === null ? [] : [`failing   ${failing.code}: ${failing.message}`]),
    ...(parked === null ? [] : [`parked    ${time(parked.at)}, ${parked.code}: ${parked.message}`]),
    ...(cancel === null ? [] : [`cancel    asked for, not decided yet: ${cancel.message}`]),
    ...(cancelRefused === null
      ? []
      : [`cancel    refused ${time(cancelRefused.at)}: ${cancelRefused.reason}`]),
    ...(undo.length === 0 || instance.endedAt !== null
      ? []
      : [`to undo   ${[...undo].reverse().join(', ')}`]),
    ...(correlationId === null ? [] : [`logs      fleet logs --trace ${correlationId}`]),
  ];
}

function nextSteps({ status, id, saga }: SagaInstance): string[] {
  if (status !== 'parked') return [];
  return [
    `help      fleet saga retry ${id} --saga ${saga}, or fleet saga abort ${id} --saga ${saga} --reason <why>`,
  ];
}

function time(at: number): string {
  return new Date(at).toISOString();
}
