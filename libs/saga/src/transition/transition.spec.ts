import assert from 'node:assert/strict';
import { defineCommand, defineEvent, type AnyMessage } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { compensationOf } from '../definition/steps.ts';
import {
  abort,
  command,
  defineSaga,
  hasEnded,
  local,
  parallel,
  park,
  sagaCommandId,
  scope,
  signal,
  startInstance,
  transition,
  waitFor,
  waitForSignal,
  type CancelMode,
  type Fallback,
  type HistoryEntry,
  type Next,
  type RetryPolicy,
  type SagaDefinition,
  type SagaEffect,
  type SagaInput,
  type SagaInstance,
  type SagaScope,
  type SagaStep,
  type Transition,
} from '../index.ts';
import { assertAtRest, assertLawful } from '../testing/index.ts';

/** Numbers that look random and are the same for the same seed (mulberry32). */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  upTo(count: number): number {
    return Math.floor(this.next() * count);
  }

  pick<T>(values: readonly T[]): T {
    if (values.length === 0) throw new RangeError('nothing to pick from');
    return values[this.upTo(values.length)] as T;
  }
}

interface Data {
  readonly trail: readonly string[];
}
interface Actions {
  act(name: string): Promise<void>;
}

const payload = z.object({ step: z.string() });

class Do extends defineCommand({
  owner: 'a',
  name: 'Do',
  version: 1,
  payload,
  reply: z.object({ ok: z.boolean() }),
  errors: { Handled: z.object({}), Unhandled: z.object({}) },
}) {}
class Undo extends defineCommand({
  owner: 'a',
  name: 'Undo',
  version: 1,
  payload,
  errors: { Tolerated: z.object({}), Refused: z.object({}) },
}) {}
class First extends defineEvent({ owner: 'a', name: 'First', version: 1, payload, aggregate: () => 'x' }) {}
class Second extends defineEvent({ owner: 'a', name: 'Second', version: 1, payload, aggregate: () => 'x' }) {}

const Go = signal('go', payload);

/** A saga that nobody would write, with every kind of step and handler somewhere among its like. */
function randomSaga(dice: Dice): SagaDefinition<Data, Actions> {
  const count = 1 + dice.upTo(6);
  const pivot = dice.chance(0.6) ? dice.upTo(count) : count;
  const steps: SagaStep<Data, Actions>[] = [];
  for (let index = 0; index < count; index += 1) {
    steps.push(new StepMaker(dice, `s${index}`, index, pivot, steps).make());
  }
  return defineSaga<Data, Actions>(
    {
      name: 'random',
      version: 1,
      ...(dice.chance(0.5) && { cancellableUntil: `s${dice.upTo(count)}` }),
      ...(dice.chance(0.15) && { deadlineMs: 1_000 + dice.upTo(20_000) }),
      ...(dice.chance(0.3) && { onDeadline: dice.pick(['compensate', 'park'] as const) }),
    },
    withScope(dice, steps, pivot),
  );
}

/** Sometimes a stretch of the steps is under a deadline. */
function withScope(
  dice: Dice,
  steps: readonly SagaStep<Data, Actions>[],
  pivot: number,
): (SagaStep<Data, Actions> | SagaScope<Data, Actions>)[] {
  if (dice.chance(0.7)) return [...steps];
  const from = dice.upTo(steps.length);
  const to = from + 1 + dice.upTo(steps.length - from);
  const onDeadline = dice.pick<Fallback<Data> | undefined>([
    undefined,
    'park',
    from > pivot ? undefined : 'compensate',
    (data) => ({ trail: [...data.trail, 'late'] }),
    () => abort('late'),
    () => park('late'),
  ]);
  const stretch = scope<Data, Actions>(
    'stretch',
    { deadlineMs: 500 + dice.upTo(8_000), ...(onDeadline && { onDeadline }) },
    steps.slice(from, to),
  );
  return [...steps.slice(0, from), stretch, ...steps.slice(to)];
}

class StepMaker {
  readonly #dice: Dice;
  readonly #name: string;
  readonly #index: number;
  readonly #pivot: number;
  readonly #before: readonly SagaStep<Data, Actions>[];

  constructor(
    dice: Dice,
    name: string,
    index: number,
    pivot: number,
    before: readonly SagaStep<Data, Actions>[],
  ) {
    this.#dice = dice;
    this.#name = name;
    this.#index = index;
    this.#pivot = pivot;
    this.#before = before;
  }

  make(): SagaStep<Data, Actions> {
    const isPivot = this.#index === this.#pivot;
    const kind = this.#dice.pick(['command', 'command', 'command', 'local', 'wait', 'parallel'] as const);
    const more = { ...this.#when(), ...this.#cancel(), pivot: isPivot };
    if (kind === 'local') return this.#local(more);
    if (kind === 'command' || isPivot) return this.#command(this.#name, more);
    if (kind === 'wait') return this.#wait(this.#name, { ...this.#when(), ...this.#cancel(true) });
    return this.#parallel();
  }

  #parallel(): SagaStep<Data, Actions> {
    const branches = Array.from({ length: 2 + this.#dice.upTo(2) }, (_, nth) => {
      const name = `${this.#name}${'abc'[nth] ?? ''}`;
      return this.#dice.chance(0.75) ? this.#command(name, this.#when()) : this.#wait(name, this.#when());
    });
    const onDeadline = this.#dice.chance(0.5) ? this.#handler() : undefined;
    return parallel<Data, Actions>(this.#name, branches, {
      ...this.#when(),
      ...this.#cancel(),
      ...(this.#dice.chance(0.4) && {
        deadlineMs: 500 + this.#dice.upTo(5_000),
        ...(onDeadline && { onDeadline }),
      }),
    });
  }

  #command(name: string, more: object): SagaStep<Data, Actions> {
    const faulty = this.#dice.chance(0.03);
    const onReply = this.#handler();
    const [onTimeout, onFailed] = [this.#fallback(), this.#dice.chance(0.3) ? this.#handler() : undefined];
    const instead = (onTimeout === undefined || onFailed === undefined) && this.#dice.chance(0.3);
    return command(name, Do, {
      ...more,
      ...this.#undo(name),
      ...(onTimeout && { onTimeout }),
      ...(onFailed && { onFailed }),
      retries: this.#retries(),
      timeoutMs: 1_000,
      send: () => ({ step: name }),
      onReply: (data, { ok }) => {
        if (faulty && !ok) throw new RangeError('a fault');
        return onReply(data);
      },
      ...(this.#dice.chance(0.7) && { onRefused: { Handled: this.#handler() } }),
      ...(instead && {
        fallback: {
          command: Do,
          ...this.#undo(`${name}/fallback`),
          retries: this.#retries(),
          send: () => ({ step: `${name}/fallback` }),
          onReply: this.#handler(),
        },
      }),
    });
  }

  #local(more: object): SagaStep<Data, Actions> {
    const name = this.#name;
    return local(name, {
      ...more,
      ...(this.#dice.chance(0.5)
        ? this.#undo(name)
        : { compensate: (_data: Data, actions: Actions) => actions.act(name) }),
      run: async (data) => ({ trail: [...data.trail, name] }),
    });
  }

  #wait(name: string, more: object): SagaStep<Data, Actions> {
    const onTimeout = this.#fallback();
    const options = { ...more, ...(onTimeout && { onTimeout }), timeoutMs: 5_000 };
    if (this.#dice.chance(0.5)) return waitForSignal(name, Go, { ...options, onSignal: this.#handler() });
    return waitFor(name, this.#dice.chance(0.5) ? First : [First, Second], {
      ...options,
      onEvent: this.#handler(),
    });
  }

  #handler(): (data: Data) => Next<Data> {
    const log = (data: Data): Data => ({ trail: [...data.trail, this.#name] });
    return this.#dice.pick<(data: Data) => Next<Data>>([
      log,
      log,
      log,
      () => abort('no'),
      () => park('look'),
    ]);
  }

  #fallback(): Fallback<Data> | undefined {
    const after = this.#index > this.#pivot;
    return this.#dice.pick([undefined, this.#handler(), 'park', after ? undefined : 'compensate']);
  }

  #retries(): number | RetryPolicy {
    const retries = this.#dice.upTo(3);
    if (this.#dice.chance(0.6)) return retries;
    return {
      retries,
      initialMs: 200,
      maxMs: 3_000,
      multiplier: 3,
      jitter: this.#dice.next(),
      ...(this.#dice.chance(0.5) && { retryOn: this.#dice.pick(['all', ['BROKEN']] as const) }),
      ...(this.#dice.chance(0.3) && { never: ['OTHER'] }),
    };
  }

  #undo(name: string): object {
    if (this.#dice.chance(0.3)) return {};
    return {
      compensate: {
        command: Undo,
        send: () => (dice0(name) ? { step: name } : undefined),
        tolerate: ['Tolerated' as const],
        retries: this.#retries(),
      },
    };
  }

  #when(): { when?: (data: Data) => boolean } {
    return this.#dice.chance(0.2) ? { when: (data: Data) => data.trail.length % 2 === 0 } : {};
  }

  #cancel(waits = false): { cancel?: CancelMode } {
    const undone = this.#before.find(
      (step) => step.kind === 'command' && step.compensation?.kind === 'command',
    );
    if (waits && undone !== undefined && this.#dice.chance(0.4)) return { cancel: { tryUndo: undone.name } };
    if (this.#dice.chance(0.6)) return {};
    return { cancel: this.#dice.pick(['allow', 'wait', 'wait', 'tooLate'] as const) };
  }
}

/** Whether the undo of a step has anything to do: fixed by its name, because definitions are pure. */
const dice0 = (name: string): boolean => name !== 's2' && name !== 's3b';

/** Plays one saga against an arbitrary world and watches that every law holds. */
class Play {
  readonly #definition: SagaDefinition<Data, Actions>;
  readonly #dice: Dice;
  readonly #forward = new Set<string>();
  readonly #undone: string[] = [];
  readonly #ends: string[] = [];
  readonly history: HistoryEntry[] = [];
  #cancelAccepted = false;
  /** Whether somebody waits for the decision of a cancellation. */
  #cancelPending = false;
  /** What was done, or may have been, and is not undone: by step. */
  readonly #owed = new Set<string>();
  readonly #used = new Set<unknown>();
  #parks = 0;
  #now = 0;
  instance: SagaInstance<Data>;

  constructor(seed: number) {
    this.#dice = new Dice(seed);
    this.#definition = randomSaga(this.#dice);
    const first = startInstance(this.#definition, { id: 'x', data: { trail: [] } }, 0);
    this.instance = first.instance;
    this.#settle(first);
  }

  get ends(): readonly string[] {
    return this.#ends;
  }

  /** One thing that happens, sensible or not. */
  disturb(): void {
    const dice = this.#dice;
    const draw = dice.next();
    if (draw < 0.4) this.#take({ type: 'reply', commandId: this.#someCommand(), ...this.#someReply() });
    else if (draw < 0.6) {
      // On time, too early, or with the clock of another machine.
      this.#now = dice.chance(0.8)
        ? Math.max(this.#now, this.instance.dueAt ?? 0)
        : this.#now + dice.upTo(500);
      this.#take({ type: 'timer' });
    } else if (draw < 0.74) {
      const message = dice.chance(0.5) ? new First({ step: 'e' }) : new Second({ step: 'e' });
      this.#take({ type: 'event', id: `e-${dice.upTo(20)}`, message });
    } else if (draw < 0.8) this.#signal(`m-${dice.upTo(3)}`);
    else if (draw < 0.88) this.#take({ type: 'retry' });
    else if (draw < 0.93)
      this.#take({ type: 'cancel', reason: { code: 'cancelled', message: '' }, force: false });
    else if (draw < 0.95)
      this.#take({ type: 'cancel', reason: { code: 'aborted', message: '' }, force: true });
    else if (draw < 0.97) this.#take({ type: 'park', reason: { code: 'look', message: '' } });
    else this.#now += dice.upTo(3_000);
  }

  /** The world is kind from now on, and somebody retries what is parked, or gives it up. */
  beKind(round: number): void {
    const { status } = this.instance;
    const branch = this.instance.branches.find(({ parked }) => parked === null);
    const { waiting, commandId, step } = branch ?? this.instance;
    if (status === 'parked') {
      this.#parks += 1;
      if (this.#parks % 3 !== 0) this.#take({ type: 'retry' });
      else this.#take({ type: 'cancel', reason: { code: 'aborted', message: '' }, force: true });
    } else if (waiting === 'reply' && commandId !== null) {
      this.#take({ type: 'reply', commandId, outcome: 'ok', body: { ok: true } });
    } else if (waiting === 'event') {
      const awaited = this.#definition.nodes.get(step ?? '')?.step;
      if (awaited?.kind === 'wait' && awaited.signal) this.#signal(`kind-${round}`);
      else this.#take({ type: 'event', id: `kind-${round}`, message: new First({ step: 'e' }) });
    } else {
      this.#now = Math.max(this.#now, this.instance.dueAt ?? 0);
      this.#take({ type: 'timer' });
    }
  }

  #take(input: SagaInput): void {
    const before = freeze(this.instance);
    const after = transition(this.#definition, before, input, this.#now);
    assert.deepEqual(
      transition(this.#definition, before, input, this.#now),
      after,
      'the same again makes the same',
    );
    this.#settle(after, input, before);
    const { outcome } = after.answer;
    if (input.type === 'cancel' && outcome === 'accepted') this.#cancelAccepted = true;
    if (outcome === 'pending') assert.ok(this.#cancelPending, 'what is pending is kept in the instance');
    if (this.#cancelAccepted)
      assert.notEqual(this.instance.status, 'completed', 'what is cancelled does not complete');
  }

  #signal(id: string): void {
    this.#take({ type: 'signal', id, name: Go.name, payload: { step: 'e' } });
  }

  #settle(first: Transition<Data>, input: SagaInput = { type: 'retry' }, before?: SagaInstance<Data>): void {
    let { effects } = first;
    if (before) assertLawful(before, input, this.#now, first);
    this.#accept(first);
    for (let run = runOf(effects); run !== undefined; run = runOf(effects)) {
      if (run.direction === 'forward') this.#forward.add(run.step);
      else this.#undo(run.step);
      const result: SagaInput = this.#dice.chance(0.2)
        ? { type: 'run-refused', failure: { code: 'Refused', message: 'no' } }
        : {
            type: 'ran',
            result:
              run.direction === 'forward' ? { trail: [...this.instance.data.trail, run.step] } : undefined,
          };
      const between = freeze(this.instance);
      const next = transition(this.#definition, between, result, this.#now);
      assertLawful(between, result, this.#now, next);
      this.#accept(next);
      ({ effects } = next);
    }
    assertAtRest(this.instance);
    assert.deepEqual(JSON.parse(JSON.stringify(this.instance)), this.instance, 'it survives JSON');
  }

  #accept({ instance, effects, history }: Transition<Data>): void {
    this.instance = instance;
    this.history.push(...history);
    for (const { kind, step, detail } of history) {
      const undo = detail?.['undo'] === true;
      // What is refused did not happen; what is skipped is left to a person.
      if (kind === 'undone' || kind === 'undo-skipped' || (kind === 'refused' && !undo))
        this.#owed.delete(step ?? '');
      if (kind === 'ran') this.#owe(step ?? '');
      if (kind === 'signal') this.#useSignal(step ?? '', detail?.['id']);
    }
    for (const effect of effects) {
      if (effect.type === 'send') this.#sent(effect.command);
      else if (effect.type === 'cancel-decided') this.#decided(effect.decision.accepted);
      else if (effect.type !== 'run') this.#ends.push(effect.type);
    }
    if (instance.cancel !== null && instance.cancel.force === undefined) this.#cancelPending = true;
    if (hasEnded(instance)) assert.ok(!this.#cancelPending, 'whoever asked to cancel is told');
    if (instance.status === 'compensated') assert.deepEqual([...this.#owed], [], 'what was done is undone');
    assert.equal(this.#ends.length, hasEnded(instance) ? 1 : 0, 'it ends once');
    if (instance.status === 'completed') assert.deepEqual(this.#undone, [], 'what completes was not undone');
  }

  #sent(message: AnyMessage): void {
    const { step } = (message as Do | Undo).payload;
    if (message instanceof Do) {
      assert.equal(this.instance.direction, 'forward');
      this.#forward.add(step);
      this.#owe(step);
    } else if (this.instance.direction === 'forward') {
      // Taken back on the way forward: before its fallback, or to find out whether the saga can be cancelled.
      assert.ok(this.#forward.has(step), `${step} is taken back, but was never done`);
    } else this.#undo(step);
  }

  #owe(step: string): void {
    const done = this.#definition.nodes.get(step)?.step;
    const compensation = done && compensationOf(done);
    if (compensation?.kind === 'local' || (compensation?.kind === 'command' && dice0(step)))
      this.#owed.add(step);
  }

  #decided(accepted: boolean): void {
    this.#cancelPending = false;
    this.#cancelAccepted ||= accepted;
    if (!accepted) assert.equal(this.instance.direction, 'forward', 'what is refused goes on');
  }

  #useSignal(step: string, id: unknown): void {
    assert.ok(!this.#used.has(id), `signal ${String(id)} counts twice, at ${step}`);
    this.#used.add(id);
  }

  #undo(step: string): void {
    assert.equal(this.instance.direction, 'compensation');
    assert.ok(this.#forward.has(step), `${step} is undone, but was never done`);
    // Backwards: a step is undone before those that came before it.
    const last = this.#undone.at(-1);
    if (last !== undefined) assert.ok(indexOf(step) <= indexOf(last), `${step} is undone after ${last}`);
    this.#undone.push(step);
  }

  /** Mostly the command in flight; sometimes an older one, or one that never was. */
  #someCommand(): string {
    const { epoch, branches } = this.instance;
    const known = [this.instance, ...branches].flatMap(({ commandId }) => commandId ?? []);
    if (known.length > 0 && this.#dice.chance(0.75)) return this.#dice.pick(known);
    if (this.#dice.chance(0.2)) return 'foreign';
    const step = this.#dice.pick([...this.#definition.nodes.keys()]);
    const direction = this.#dice.chance(0.5) ? 'forward' : 'compensation';
    const old = sagaCommandId(this.instance, step, direction, 1 + this.#dice.upTo(Math.max(1, epoch)));
    return old;
  }

  #someReply(): Pick<Extract<SagaInput, { type: 'reply' }>, 'outcome' | 'body'> {
    const failure = (code: string, retry: string) => ({ code, message: code, data: {}, retry });
    return this.#dice.pick([
      { outcome: 'ok', body: { ok: true } },
      { outcome: 'ok', body: { ok: true } },
      { outcome: 'ok', body: { ok: true } },
      { outcome: 'ok', body: { ok: false } },
      { outcome: 'ok', body: 'not what the contract says' },
      { outcome: 'refused', body: failure('Handled', 'never') },
      { outcome: 'refused', body: failure('Unhandled', 'never') },
      { outcome: 'refused', body: failure('Tolerated', 'never') },
      { outcome: 'failed', body: failure('BROKEN', 'later') },
      { outcome: 'failed', body: failure('OTHER', 'later') },
      { outcome: 'failed', body: failure('BROKEN', 'never') },
      { outcome: 'failed', body: undefined },
    ] as const);
  }
}

/** The number of the step that a node belongs to: branches and fallbacks have that of their own step. */
function indexOf(node: string): number {
  return Number.parseInt(node.slice(1), 10);
}

function runOf(effects: readonly SagaEffect[]): Extract<SagaEffect, { type: 'run' }> | undefined {
  return effects.find((effect) => effect.type === 'run');
}

function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(freeze);
  }
  return value;
}

describe('whatever happens, in whatever order', () => {
  const SEEDS = 1_500;
  const reached = new Set<string>();

  it(`every law holds, and every saga comes to an end when the world is kind again (${SEEDS} random sagas)`, () => {
    for (let seed = 1; seed <= SEEDS; seed += 1) {
      try {
        const play = new Play(seed);
        for (let n = 0; n < 40 && !hasEnded(play.instance); n += 1) play.disturb();
        // Ended or not, a few more: what has ended stays so.
        for (let n = 0; n < 5; n += 1) play.disturb();
        for (let round = 0; !hasEnded(play.instance); round += 1) {
          if (round > 200) throw new Error(`it does not end: ${JSON.stringify(play.instance)}`);
          play.beKind(round);
        }
        assert.deepEqual(play.ends, [play.instance.status]);
        for (const { kind } of play.history) reached.add(kind);
        reached.add(play.instance.status);
      } catch (error) {
        throw new Error(`Seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        });
      }
    }
  }, 120_000);

  it('and they have seen everything that can be in a history', () => {
    expect([...reached].sort()).toEqual(
      [
        'compensated',
        'compensating',
        'completed',
        'cancel-requested',
        'event',
        'event-buffered',
        'event-ignored',
        'signal',
        'signal-ignored',
        'fallback',
        'deadline-passed',
        'cancel-refused',
        'failed',
        'parked',
        'ran',
        'refused',
        'replied',
        'reply-ignored',
        'resent',
        'resumed',
        'started',
        'timed-out',
        'undo-skipped',
        'undone',
      ].sort(),
    );
  });
});
