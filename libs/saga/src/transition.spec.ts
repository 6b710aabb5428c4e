import assert from 'node:assert/strict';
import { defineCommand, defineEvent, type AnyMessage } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import {
  abort,
  command,
  defineSaga,
  local,
  park,
  waitFor,
  type Fallback,
  type Next,
  type SagaDefinition,
  type SagaStep,
} from './definition.ts';
import { hasEnded, sagaCommandId, type HistoryEntry, type SagaInstance } from './instance.ts';
import { assertAtRest, assertLawful } from './testing/index.ts';
import { startInstance, transition, type SagaEffect, type SagaInput, type Transition } from './transition.ts';

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
    const value = values[this.upTo(values.length)];
    if (value === undefined) throw new RangeError('nothing to pick from');
    return value;
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

/** A saga that nobody would write, with every kind of step and handler somewhere among its like. */
function randomSaga(dice: Dice): SagaDefinition<Data, Actions> {
  const count = 1 + dice.upTo(6);
  const pivot = dice.chance(0.6) ? dice.upTo(count) : count;
  const steps = Array.from({ length: count }, (_, index) => randomStep(dice, `s${index}`, index, pivot));
  const cancellable = dice.chance(0.5) ? { cancellableUntil: `s${dice.upTo(count)}` } : {};
  return defineSaga<Data, Actions>({ name: 'random', version: 1, ...cancellable }, steps);
}

function randomStep(dice: Dice, name: string, index: number, pivot: number): SagaStep<Data, Actions> {
  const log = (data: Data): Data => ({ trail: [...data.trail, name] });
  const faulty = dice.chance(0.03);
  const handler = (): ((data: Data) => Next<Data>) =>
    dice.pick<(data: Data) => Next<Data>>([log, log, log, () => abort('no'), () => park('look')]);
  const fallback = (): { onTimeout?: Fallback<Data> } =>
    dice.pick([
      {},
      { onTimeout: handler() },
      { onTimeout: 'park' as const },
      index > pivot ? {} : { onTimeout: 'compensate' as const },
    ]);
  const when = dice.chance(0.2) ? { when: (data: Data) => data.trail.length % 2 === 0 } : {};
  const undo = dice.chance(0.7)
    ? {
        compensate: {
          command: Undo,
          send: () => (dice0(name) ? { step: name } : undefined),
          tolerate: ['Tolerated' as const],
          retries: dice.upTo(3),
        },
      }
    : {};
  const kind = dice.pick(['command', 'command', 'command', 'local', 'wait'] as const);
  if (kind === 'command' || (kind === 'wait' && index === pivot)) {
    const onReply = handler();
    return command('s' + String(index), Do, {
      ...when,
      ...undo,
      ...fallback(),
      pivot: index === pivot,
      retries: dice.upTo(3),
      timeoutMs: 1_000,
      send: () => ({ step: name }),
      onReply: (data, { ok }) => {
        if (faulty && !ok) throw new RangeError('a fault');
        return onReply(data);
      },
      ...(dice.chance(0.7) && { onRefused: { Handled: handler() } }),
      ...(dice.chance(0.3) && { onFailed: handler() }),
    });
  }
  if (kind === 'local') {
    return local(name, {
      ...when,
      ...(dice.chance(0.5) ? undo : { compensate: (_data: Data, actions: Actions) => actions.act(name) }),
      pivot: index === pivot,
      run: async (data) => log(data),
    });
  }
  return waitFor(name, dice.chance(0.5) ? First : [First, Second], {
    ...when,
    ...fallback(),
    timeoutMs: 5_000,
    onEvent: handler(),
  });
}

/** Whether the undo of a step has anything to do: fixed by its name, because definitions are pure. */
const dice0 = (name: string): boolean => name !== 's2';

/** Plays one saga against an arbitrary world and watches that every law holds. */
class Play {
  readonly #definition: SagaDefinition<Data, Actions>;
  readonly #dice: Dice;
  readonly #forward = new Set<string>();
  readonly #undone: string[] = [];
  readonly #ends: string[] = [];
  readonly history: HistoryEntry[] = [];
  #cancelAccepted = false;
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
    } else if (draw < 0.8) {
      const message = dice.chance(0.5) ? new First({ step: 'e' }) : new Second({ step: 'e' });
      this.#take({ type: 'event', id: `e-${dice.upTo(20)}`, message });
    } else if (draw < 0.88) this.#take({ type: 'retry' });
    else if (draw < 0.93)
      this.#take({ type: 'cancel', reason: { code: 'cancelled', message: '' }, force: false });
    else if (draw < 0.95)
      this.#take({ type: 'cancel', reason: { code: 'aborted', message: '' }, force: true });
    else if (draw < 0.97) this.#take({ type: 'park', reason: { code: 'look', message: '' } });
    else this.#now += dice.upTo(3_000);
  }

  /** The world is kind from now on, and somebody retries what is parked, or gives it up. */
  beKind(round: number): void {
    const { status, commandId, waiting } = this.instance;
    if (status === 'parked') {
      this.#parks += 1;
      if (this.#parks % 3 !== 0) this.#take({ type: 'retry' });
      else this.#take({ type: 'cancel', reason: { code: 'aborted', message: '' }, force: true });
    } else if (waiting === 'reply' && commandId !== null) {
      this.#take({ type: 'reply', commandId, outcome: 'ok', body: { ok: true } });
    } else if (waiting === 'event')
      this.#take({ type: 'event', id: `kind-${round}`, message: new First({ step: 'e' }) });
    else {
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
    if (input.type === 'cancel' && after.answer.outcome === 'accepted') this.#cancelAccepted = true;
    if (this.#cancelAccepted)
      assert.notEqual(this.instance.status, 'completed', 'what is cancelled does not complete');
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
    for (const effect of effects) {
      if (effect.type === 'send') this.#sent(effect.command);
      else if (effect.type !== 'run') this.#ends.push(effect.type);
    }
    assert.equal(this.#ends.length, hasEnded(instance) ? 1 : 0, 'it ends once');
    if (instance.status === 'completed') assert.deepEqual(this.#undone, [], 'what completes was not undone');
  }

  #sent(message: AnyMessage): void {
    const { step } = (message as Do | Undo).payload;
    if (message instanceof Do) {
      assert.equal(this.instance.direction, 'forward');
      this.#forward.add(step);
    } else this.#undo(step);
  }

  #undo(step: string): void {
    assert.equal(this.instance.direction, 'compensation');
    assert.ok(this.#forward.has(step), `${step} is undone, but was never done`);
    // Backwards: a step is undone before those that came before it.
    const last = this.#undone.at(-1);
    if (last !== undefined)
      assert.ok(Number(step.slice(1)) <= Number(last.slice(1)), `${step} is undone after ${last}`);
    this.#undone.push(step);
  }

  /** Mostly the command in flight; sometimes an older one, or one that never was. */
  #someCommand(): string {
    const { commandId, epoch } = this.instance;
    if (commandId !== null && this.#dice.chance(0.75)) return commandId;
    if (this.#dice.chance(0.2)) return 'foreign';
    const step = this.#dice.pick(this.#definition.steps).name;
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
      { outcome: 'failed', body: failure('BROKEN', 'never') },
      { outcome: 'failed', body: undefined },
    ] as const);
  }
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
  });

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
