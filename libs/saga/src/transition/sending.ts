import type { AnyMessage } from '@flotilla/contracts-protocol';
import { retryDelayMs, type CommandPolicy } from '../definition/retry-policy.ts';
import { sagaCommandId, type Cursor } from '../instance.ts';
import type { Draft } from './draft.ts';

type WritableCursor = { -readonly [K in keyof Cursor]: Cursor[K] };

/** Sends a new command: the next epoch, and so a new id. */
export function send<D, A>(
  draft: Draft<D, A>,
  at: WritableCursor,
  step: string,
  message: AnyMessage,
  policy: CommandPolicy,
  attempt: number,
): void {
  const { i } = draft;
  draft.changed = true;
  i.epoch += 1;
  at.attempt = attempt;
  at.commandId = sagaCommandId(i, step, i.direction, i.epoch);
  at.waiting = 'reply';
  awaitAnswer(draft, at, policy);
  draft.effects.push({ type: 'send', command: message, commandId: at.commandId, attempt });
}

/** The same command once more: the receiver recognises its id and, if it has handled it, answers as before. */
export function resend<D, A>(
  draft: Draft<D, A>,
  at: WritableCursor,
  message: AnyMessage,
  policy: CommandPolicy,
): void {
  const { i } = draft;
  if (at.commandId === null)
    throw new TypeError(`Saga ${i.saga} of "${i.id}" waits for an answer to no command`);
  draft.changed = true;
  at.attempt += 1;
  awaitAnswer(draft, at, policy);
  draft.effects.push({ type: 'send', command: message, commandId: at.commandId, attempt: at.attempt });
  draft.note('resent', at.step, { attempt: at.attempt });
}

/** Waits before a command that failed is sent again. */
export function retryLater<D, A>(draft: Draft<D, A>, at: WritableCursor, policy: CommandPolicy): void {
  draft.changed = true;
  at.waiting = 'retry';
  at.dueAt = draft.now + delayOf(draft, at, policy);
}

/** A sending that may be repeated waits as long as the policy's delay, so that repetitions grow apart. */
function awaitAnswer<D, A>(draft: Draft<D, A>, at: WritableCursor, policy: CommandPolicy): void {
  const { timeoutMs, retries } = policy;
  const delayMs = at.attempt <= retries ? delayOf(draft, at, policy) : 0;
  at.dueAt = draft.now + Math.max(timeoutMs, delayMs);
}

function delayOf<D, A>({ i }: Draft<D, A>, at: WritableCursor, policy: CommandPolicy): number {
  return retryDelayMs(policy, at.attempt, [i.saga, i.id, at.step ?? '', i.epoch, at.attempt]);
}
