import type { SagaDefinition } from '../definition/define-saga.ts';
import { WHOLE_SAGA, type SagaInstance } from '../instance.ts';
import { SagaDefinitionFaultError } from '../saga.errors.ts';
import { applied, type SagaAnswer, type SagaInput, type Transition } from './contract.ts';
import { Draft } from './draft.ts';
import { onEvent, onSignal } from './events.ts';
import { goForward } from './forward.ts';
import { onRan, onRunRefused } from './local-action.ts';
import { parkInstance } from './parking.ts';
import { onCancel, onPark, onRetry } from './people.ts';
import { onReply } from './replies.ts';
import { onTimer } from './timer.ts';

export interface StartOptions<D> {
  readonly id: string;
  readonly data: D;
  readonly correlationId?: string;
  /** The trace that it belongs to, as a W3C `traceparent`. */
  readonly traceparent?: string;
}

/**
 * The first transition of an instance. Throws {@link SagaDefinitionFaultError} if the definition's functions
 * throw on the way to its first wait: whoever starts it should know.
 */
export function startInstance<D, A>(
  definition: SagaDefinition<D, A>,
  { id, data, correlationId, traceparent }: StartOptions<D>,
  now: number,
): Transition<D> {
  const draft = new Draft(
    definition,
    {
      saga: definition.name,
      id,
      version: definition.version,
      revision: 0,
      status: 'running',
      direction: 'forward',
      step: null,
      waiting: null,
      attempt: 0,
      epoch: 0,
      commandId: null,
      dueAt: null,
      branches: [],
      deadlines: definition.deadline ? { [WHOLE_SAGA]: now + definition.deadline.ms } : null,
      undo: [],
      buffer: [],
      signals: [],
      cancel: null,
      cancelRefused: null,
      failing: null,
      reason: null,
      parked: null,
      data,
      correlationId: correlationId ?? null,
      traceparent: traceparent ?? null,
      startedAt: now,
      updatedAt: now,
      endedAt: null,
    },
    now,
  );
  draft.note('started', null, { version: definition.version });
  goForward(draft, 0);
  return draft.finish(applied);
}

/**
 * What an input makes of an instance: a pure function, the whole behaviour of sagas. The instance must be one of
 * this definition's name and version. Effects are in the order in which they are to be done.
 */
export function transition<D, A>(
  definition: SagaDefinition<D, A>,
  instance: SagaInstance<D>,
  input: SagaInput,
  now: number,
): Transition<D> {
  const draft = new Draft(definition, instance, now);
  const answer = take(draft, input);
  if (draft.changed && INTERFERES.has(input.type)) draft.i.inDoubt = true;
  return draft.finish(answer);
}

/** After these an answer may still be missing: what is sent next must not overtake its command. */
const INTERFERES: ReadonlySet<SagaInput['type']> = new Set(['timer', 'cancel', 'retry', 'park']);

function take<D, A>(draft: Draft<D, A>, input: SagaInput): SagaAnswer {
  try {
    switch (input.type) {
      case 'reply':
        return onReply(draft, input);
      case 'event':
        return onEvent(draft, input.id, input.message);
      case 'signal':
        return onSignal(draft, input.id, input.name, input.payload);
      case 'timer':
        return onTimer(draft);
      case 'cancel':
        return onCancel(draft, input.reason, input.force);
      case 'retry':
        return onRetry(draft, input.reason);
      case 'park':
        return onPark(draft, input.reason);
      case 'ran':
        return onRan(draft, input.result);
      case 'run-refused':
        return onRunRefused(draft, input.failure);
    }
  } catch (error) {
    if (!(error instanceof SagaDefinitionFaultError)) throw error;
    return onFault(draft, input, error);
  }
}

/** A function of the definition threw: what the transition did before stands, but nothing is sent. */
function onFault<D, A>(draft: Draft<D, A>, input: SagaInput, error: SagaDefinitionFaultError): SagaAnswer {
  // What a customer was told is told; a command that is not answered yet may still be.
  const told = draft.effects.filter(({ type }) => type === 'cancel-decided');
  draft.effects.splice(0, draft.effects.length, ...told);
  const reason = { code: error.code, message: error.message };
  parkInstance(draft, reason);
  if (input.type === 'retry') return { outcome: 'parkedAgain', reason };
  return input.type === 'cancel' ? { outcome: 'accepted', when: 'now' } : applied;
}
