import assert from 'node:assert/strict';
import { hasEnded, type SagaInstance } from '../instance.ts';
import type { SagaEffect, SagaInput, Transition } from '../transition.ts';

/**
 * What holds for an instance that rests between two units of work, whatever has happened to it. Throws an
 * AssertionError that says what does not.
 */
export function assertAtRest(instance: SagaInstance): void {
  const { status, direction, step, waiting, commandId, dueAt, undo, parked, reason, endedAt, cancel } =
    instance;
  const context = JSON.stringify({ ...instance, data: undefined });
  const holds = (condition: boolean, what: string): void => assert.ok(condition, `${what}: ${context}`);
  holds(waiting !== 'action', 'a local action is part of a unit of work');
  holds(new Set(undo).size === undo.length, 'a step is undone once');
  if (hasEnded(instance)) {
    holds(
      step === null && waiting === null && commandId === null && dueAt === null,
      'an ended saga waits for nothing',
    );
    holds(endedAt !== null, 'an ended saga knows when it ended');
    holds(cancel === null, 'no cancellation is left open');
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
    return;
  }
  holds((status === 'running') === (direction === 'forward'), 'status and direction agree');
  holds(dueAt !== null, 'an open saga that is not parked has a timer');
  holds(
    (waiting === 'reply') === (commandId !== null),
    'a saga waits for an answer exactly while a command is in flight',
  );
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
  assert.ok(sends.length <= 1, context('at most one command is sent'));
  if (hasEnded(before)) {
    assert.equal(instance, before, context('an ended saga never changes'));
    assert.deepEqual(effects, [], context('an ended saga does nothing'));
  }
  if (instance === before) assert.deepEqual(effects, [], context('nothing is done without a change'));
  else assert.ok(history.length > 0, context('every change leaves a line in the history'));
  assert.ok(
    instance.epoch === before.epoch || instance.epoch === before.epoch + 1,
    context('one epoch at a time'),
  );
  const [send] = sends;
  if (send !== undefined) {
    assert.equal(
      send.commandId,
      instance.commandId,
      context('the command that was sent is the one in flight'),
    );
    const again = send.commandId === before.commandId;
    assert.equal(
      instance.epoch === before.epoch,
      again,
      context('a new epoch for each new command, and no other'),
    );
  }
  if (input.type === 'reply' && input.commandId !== before.commandId) {
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
