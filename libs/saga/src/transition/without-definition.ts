import { contractOf } from '@flotilla/contracts-protocol';
import type { SagaReason } from '../definition/next.ts';
import { hasEnded, type BufferedEvent, type HistoryEntry, type SagaInstance } from '../instance.ts';
import {
  ignored,
  type DefinitionMissing,
  type SagaAnswer,
  type SagaInput,
  type Transition,
} from './contract.ts';
import { MAX_BUFFERED_EVENTS } from './events.ts';
import { keptAs } from './waits.ts';

/**
 * The transition of an instance whose definition is not registered: it is parked, events and signals are kept. Nothing
 * else can be said of it; once the version is registered again, an operator's retry goes on. `failure` says why it
 * could not be carried over to a newer version.
 */
export function withoutDefinition<D>(
  instance: SagaInstance<D>,
  input: SagaInput,
  now: number,
  failure?: SagaReason,
): Transition<D> {
  const { saga, version, status, step } = instance;
  const missing: DefinitionMissing = { outcome: 'definitionMissing', version };
  const answer: SagaAnswer =
    input.type === 'cancel' || input.type === 'retry' ? missing : ignored('no definition');
  if (hasEnded(instance)) return { instance, effects: [], history: [], answer };
  const reason = failure ?? {
    code: 'DEFINITION_MISSING',
    message: `Version ${version} of saga ${saga} is not registered: deploy it again beside the newer one, then retry`,
  };
  const history: HistoryEntry[] = [];
  if (input.type === 'reply') {
    const detail = { outcome: input.outcome, why: reason.code };
    history.push({ at: now, kind: 'reply-ignored', step, detail });
  }
  const kept = keptFrom(input);
  const keeps = kept !== undefined && instance.buffer.length < MAX_BUFFERED_EVENTS;
  if (keeps) {
    const detail = { type: kept.type, eventId: kept.id };
    history.push({ at: now, kind: 'event-buffered', step, detail });
  }
  if (status !== 'parked')
    history.push({ at: now, kind: 'parked', step, detail: { code: reason.code, message: reason.message } });
  if (status === 'parked' && !keeps) return { instance, effects: [], history, answer };
  return {
    instance: {
      ...instance,
      status: 'parked',
      parked: instance.parked ?? { ...reason, at: now },
      waiting: null,
      dueAt: null,
      branches: instance.branches.map((branch) => ({
        ...branch,
        waiting: null,
        dueAt: null,
        parked: branch.parked ?? reason,
      })),
      buffer: keeps ? [...instance.buffer, kept] : instance.buffer,
      updatedAt: now,
    },
    effects: [],
    history,
    answer: keeps ? { outcome: 'buffered' } : answer,
  };
}

function keptFrom(input: SagaInput): BufferedEvent | undefined {
  if (input.type === 'event') {
    return { id: input.id, type: contractOf(input.message).type, payload: input.message.payload };
  }
  if (input.type === 'signal') return { id: input.id, type: keptAs(input.name), payload: input.payload };
  return undefined;
}
