import { InvalidReplyError, readFailure } from '@flotilla/contracts-protocol';
import { reasonOf } from '../definition/next.ts';
import { retriesFailure } from '../definition/retry-policy.ts';
import { compensationOf } from '../definition/steps.ts';
import { hasEnded, sagaCommandId, type SagaDirection } from '../instance.ts';
import { applied, ignored, type HandledAnswer, type ReplyInput } from './contract.ts';
import { refuseCancel } from './cancellation.ts';
import { call, type Draft, type Place } from './draft.ts';
import { begin, commandAt, goOn, settle, succeeded } from './forward.ts';
import { unpark } from './parking.ts';
import { retryLater } from './sending.ts';
import { fallBack } from './setbacks.ts';
import { compensate, onUndoReply } from './undo.ts';

/** The answer to a command: one that nothing waits for is only noted. */
export function onReply<D, A>(draft: Draft<D, A>, input: ReplyInput): HandledAnswer {
  const { i } = draft;
  if (i.direction === 'compensation') {
    if (hasEnded(i) || i.commandId !== input.commandId) return notWaitedFor(draft, input);
    unpark(draft);
    onUndoReply(draft, input);
    return applied;
  }
  const place = hasEnded(i) ? undefined : draft.placeWaitingFor(input.commandId);
  if (place === undefined) return notWaitedFor(draft, input);
  unpark(draft);
  const { at, branch } = place;
  at.commandId = null;
  at.dueAt = null;
  at.waiting = null;
  if (branch) branch.parked = null;
  onForwardReply(draft, place, input);
  settle(draft);
  return applied;
}

function onForwardReply<D, A>(draft: Draft<D, A>, place: Place<D, A>, { outcome, body }: ReplyInput): void {
  const { node } = place;
  const step = commandAt(draft, node);
  if (outcome === 'ok') {
    let reply: unknown;
    try {
      reply = step.parseReply(body);
    } catch (error) {
      if (!(error instanceof InvalidReplyError)) throw error;
      return failed(draft, place, { code: error.code, message: error.message, retry: 'never' });
    }
    draft.note('replied', step.name);
    return succeeded(
      draft,
      place,
      call(step, 'onReply', () => step.replied(draft.i.data, reply)),
    );
  }
  const failure = readFailure(body);
  if (outcome === 'failed') return failed(draft, place, failure);

  draft.note('refused', step.name, { code: failure.code, message: failure.message });
  const handler = step.refused(failure);
  if (node.role === 'cancel' && handler === undefined) return cancelRefused(draft, place, failure.message);
  // Undoing it again may go better, and if not, a person decides.
  if (node.role === 'withdraw' && handler === undefined) {
    return fallBack(
      draft,
      place,
      { where: 'onRefused', reason: reasonOf(failure), effectUnknown: false },
      'park',
    );
  }
  if (node.role === 'withdraw' || node.role === 'cancel') return succeeded(draft, place, draft.i.data);
  const reason = reasonOf(failure);
  // What was refused did not happen: there is nothing of this step to undo.
  if (handler === undefined || draft.stopping !== null || draft.i.cancel !== null) {
    return fallBack(draft, place, { where: 'onRefused', reason, effectUnknown: false }, undefined);
  }
  goOn(
    draft,
    place,
    call(step, `onRefused.${failure.code}`, () => handler(draft.i.data)),
  );
}

/** The receiver gave up for technical reasons: tried again where that can help, else the step has failed. */
function failed<D, A>(
  draft: Draft<D, A>,
  place: Place<D, A>,
  failure: {
    readonly code: string;
    readonly message: string;
    readonly data?: unknown;
    readonly retry: string;
  },
): void {
  const { node, at } = place;
  const step = commandAt(draft, node);
  draft.note('failed', step.name, { code: failure.code, message: failure.message, attempt: at.attempt });
  const taken = node.role === 'withdraw' || node.role === 'cancel';
  const byDefault = step.onFailed === undefined && (taken || !draft.compensatesByItself(node));
  if (
    draft.stopping === null &&
    at.attempt <= step.policy.retries &&
    retriesFailure(step.policy, failure, byDefault)
  ) {
    return retryLater(draft, at, step.policy);
  }
  const setback = { where: 'onFailed', reason: reasonOf(failure), effectUnknown: true } as const;
  fallBack(draft, place, setback, step.onFailed ?? (taken ? 'park' : undefined));
}

/** The owner of the step that was to be undone first says no: the saga goes on where it was. */
function cancelRefused<D, A>(draft: Draft<D, A>, place: Place<D, A>, why: string): void {
  // An operator's abort goes past a no.
  if (draft.stopping !== null) return compensate(draft, draft.stopping);
  refuseCancel(draft, why);
  begin(draft, { ...place, node: draft.node(place.node.main.name) });
}

function notWaitedFor<D, A>(draft: Draft<D, A>, { commandId, outcome }: ReplyInput): HandledAnswer {
  const sent = whichCommand(draft, commandId);
  draft.note('reply-ignored', sent?.step ?? null, {
    outcome,
    ...(sent && { direction: sent.direction, epoch: sent.epoch }),
    ...(sent === undefined && { commandId }),
  });
  return ignored(
    sent === undefined
      ? `command ${commandId} is not one of this saga's`
      : `the saga no longer waits for the answer to step "${sent.step}" (${sent.direction})`,
  );
}

/** Ids are hashes of (step, direction, epoch), so an old answer can be told from a foreign one. */
function whichCommand<D, A>(
  { i, definition }: Draft<D, A>,
  commandId: string,
): { step: string; direction: SagaDirection; epoch: number } | undefined {
  const senders = [...definition.nodes.values()].flatMap(({ step, name }) => [
    ...(step.kind === 'command' ? [[name, 'forward'] as const] : []),
    ...(compensationOf(step)?.kind === 'command' ? [[name, 'compensation'] as const] : []),
  ]);
  for (let epoch = i.epoch; epoch > 0; epoch -= 1) {
    for (const [step, direction] of senders) {
      if (sagaCommandId(i, step, direction, epoch) === commandId) return { step, direction, epoch };
    }
  }
  return undefined;
}
