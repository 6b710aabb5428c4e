import { formatDurationMs } from '@flotilla/kernel';
import type { SagaDefinition } from './definition.ts';
import type { SagaInstance } from './instance.ts';

/** What an instance waits for, in one plain sentence. Without its definition it says what can be said. */
export function waitingFor<D, A>(
  definition: Pick<SagaDefinition<D, A>, 'steps'> | undefined,
  instance: Omit<SagaInstance, 'data'>,
  now: number,
): string {
  const { status, step: name, attempt, parked, reason, endedAt, waiting, dueAt, cancel } = instance;
  const ago = (at: number): string => `${formatDurationMs(Math.max(0, now - at))} ago`;
  const within =
    dueAt === null ? '' : dueAt <= now ? ', due now' : `, for ${formatDurationMs(dueAt - now)} more`;
  if (status === 'completed') return `Nothing: it completed ${ago(endedAt ?? now)}.`;
  if (status === 'compensated') {
    return `Nothing: it was compensated ${ago(endedAt ?? now)} (${reason?.code ?? 'no reason kept'}).`;
  }
  const undo = instance.direction === 'compensation';
  const at = undo ? `undoing step "${name ?? ''}"` : `step "${name ?? ''}"`;
  if (status === 'parked') {
    const choices = undo
      ? 'retry undoes the step again, abort leaves it as it is and undoes the rest'
      : 'retry goes on with the step, abort undoes what was done';
    return `A person: ${at} was parked ${ago(parked?.at ?? now)} because of ${parked?.code ?? 'an unknown reason'}: ${parked?.message ?? ''}; ${choices}.`;
  }
  const step = definition?.steps.find((each) => each.name === name);
  const then = cancel === null ? '' : `; then it compensates (${cancel.code})`;
  switch (waiting) {
    case 'reply': {
      const compensation = step === undefined || step.kind === 'wait' ? undefined : step.compensation;
      const sent = undo
        ? compensation?.kind === 'command'
          ? compensation
          : undefined
        : step?.kind === 'command'
          ? step
          : undefined;
      const what = sent?.command.contract.type ?? 'its command';
      const tries = sent === undefined ? `${attempt}` : `${attempt} of ${sent.policy.retries + 1}`;
      return `The answer to ${what} (${at}, sending ${tries}${within})${then}.`;
    }
    case 'event': {
      const events =
        step?.kind === 'wait' ? step.events.map(({ contract }) => contract.type).join(' or ') : 'its event';
      return `The event ${events} (${at}${within})${then}.`;
    }
    case 'retry':
      return `The next try after a technical failure (${at}, sending ${attempt + 1}${within})${then}.`;
    case 'action':
    case null:
      return `Its own service (${at}).`;
  }
}
