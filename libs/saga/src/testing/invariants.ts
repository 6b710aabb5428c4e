import assert from 'node:assert/strict';
import { hasEnded, type SagaInstance } from '../instance.ts';
import type { SagaEffect, SagaInput, Transition } from '../transition/contract.ts';

/**
 * What holds for an instance that rests between two units of work, whatever has happened to it. Throws an
 * AssertionError that says what does not.
 */
export function assertAtRest(instance: SagaInstance): void {
  const { status, direction, step, waiting, commandId, dueAt, undo, parked, reason, endedAt, cancel } =
    instance;
  const { branches, deadlines, failing } = instance;
  const context = JSON.stringify({ ...instance, data: undefined });
  const holds = (condition: boolean, what: string): void => assert.ok(condition, `${what}: ${context}`);
  holds(waiting !== 'action', 'a local action is part of a unit of work');
  holds(new Set(undo).size === undo.length, 'a step is undone once');
  if (direction === 'compensation' || hasEnded(instance)) {
    holds(
      branches.length === 0 && deadlines === null && failing === null,
      'branches and deadlines belong to the way forward',
    );
    holds(cancel === null, 'no cancellation is left open');
  }
  if (hasEnded(instance)) {
    holds(
      step === null && waiting === null && commandId === null && dueAt === null,
      'an ended saga waits for nothing',
    );
    holds(endedAt !== null, 'an ended saga knows when it ended');
    holds((status === 'compensated') === (reason !== null), 'a compensated saga, and no other, has a reason');
    holds(status === 'completed' || undo.length === 0, 'a compensated saga has nothing left to undo');
    return;
  }
  holds(step !== null && endedAt === null, 'an open saga is at a step');
  holds(
    (direction === 'compensation') === (reason !== null),
    'a saga that compensates, and no other, has a reason',
  );
  holds((status === 'parked') === (parked !== null), 'a parked saga, and no other, says why it is parked');
  if (status === 'parked') {
    holds(dueAt === null && waiting === null, 'a parked saga has no timer');
    holds(
      branches.every((branch) => branch.waiting === null && branch.dueAt === null && branch.parked !== null),
      'every branch of a parked saga is parked',
    );
    return;
  }
  holds((status === 'running') === (direction === 'forward'), 'status and direction agree');
  holds(dueAt !== null, 'an open saga that is not parked has a timer');
  holds(
    (waiting === 'reply') === (commandId !== null),
    'a saga waits for an answer exactly while a command is in flight',
  );
  holds(
    (waiting === 'branches') === branches.length > 0,
    'a saga waits for branches exactly while some are open',
  );
  for (const branch of branches) {
    if (branch.parked !== null) {
      holds(branch.waiting === null && branch.dueAt === null, 'a parked branch has no timer');
      continue;
    }
    holds(branch.dueAt !== null && branch.dueAt >= (dueAt ?? 0), 'a branch has a timer, within the saga’s');
    holds(
      (branch.waiting === 'reply') === (branch.commandId !== null),
      'a branch waits for an answer exactly while its command is in flight',
    );
  }
  if (branches.length > 0) {
    holds(
      branches.some((branch) => branch.parked === null),
      'a group all of whose branches are parked is parked',
    );
  }
  holds(failing === null || branches.length > 0, 'only a group can wait to turn around');
  if (failing !== null || (cancel !== null && cancel.lock === undefined)) {
    holds(
      waiting === 'reply' || branches.every((branch) => branch.waiting === 'reply'),
      'before it turns around a saga waits only for answers in flight',
    );
  }
}

/** What holds for every single transition. Throws an AssertionError that says what does not. */
export function assertLawful(
  before: SagaInstance,
  input: SagaInput,
  now: number,
  after: Transition<unknown>,
): void {
  const { instance, effects, history } = after;
  const context = (what: string): string =>
    `${what}: ${JSON.stringify({ before: { ...before, data: undefined }, input: input.type, after: { ...instance, data: undefined } })}`;
  const sends = effects.filter(
    (effect): effect is Extract<SagaEffect, { type: 'send' }> => effect.type === 'send',
  );
  if (hasEnded(before)) {
    assert.equal(instance, before, context('an ended saga never changes'));
    assert.deepEqual(effects, [], context('an ended saga does nothing'));
  }
  if (instance === before) assert.deepEqual(effects, [], context('nothing is done without a change'));
  else assert.ok(history.length > 0, context('every change leaves a line in the history'));

  const [wasInFlight, inFlight] = [idsOf(before), idsOf(instance)];
  for (const { commandId } of sends) {
    assert.ok(inFlight.has(commandId), context('a command that was sent is in flight'));
  }
  const fresh = sends.filter(({ commandId }) => !wasInFlight.has(commandId));
  assert.equal(
    new Set(sends.map(({ commandId }) => commandId)).size,
    sends.length,
    context('each is sent once'),
  );
  assert.ok(instance.epoch >= before.epoch + fresh.length, context('a new epoch for each new command'));
  if (fresh.length === 0 && sends.length > 0) {
    assert.equal(instance.epoch, before.epoch, context('a repetition keeps its epoch'));
  }
  if (before.branches.length === 0 && instance.branches.length === 0) {
    assert.ok(sends.length <= 1, context('outside of a group at most one command is sent'));
  }
  const decided = effects.filter(({ type }) => type === 'cancel-decided');
  assert.ok(decided.length <= 1, context('a cancellation is decided once'));
  if (before.cancel !== null && instance.cancel === null && before.cancel.force === undefined) {
    assert.equal(decided.length, 1, context('whoever asked to cancel is told'));
  }
  if (before.cancelRefused !== null) {
    assert.deepEqual(
      instance.cancelRefused,
      before.cancelRefused,
      context('a refused cancellation stays so'),
    );
  }
  if (input.type === 'reply' && !wasInFlight.has(input.commandId)) {
    assert.equal(instance, before, context('an answer that is not waited for changes nothing'));
  }
  if (input.type === 'timer' && (before.dueAt === null || before.dueAt > now)) {
    assert.equal(instance, before, context('a timer that is not due changes nothing'));
  }
  if (before.status === 'parked' && (input.type === 'timer' || input.type === 'park')) {
    assert.equal(instance, before, context('only an answer, an event or a person moves a parked saga'));
  }
  if (before.direction === 'compensation') {
    assert.equal(instance.direction, 'compensation', context('there is no way back from compensating'));
    assert.ok(
      instance.undo.every((step, index) => step === before.undo[index]),
      context('while compensating, the steps to be undone only become fewer, from the end'),
    );
  }
}

/** The commands whose answer an instance would still take. */
function idsOf({ commandId, branches }: SagaInstance): Set<string> {
  return new Set([commandId, ...branches.map((branch) => branch.commandId)].filter((id) => id !== null));
}
