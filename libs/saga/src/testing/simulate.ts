import assert from 'node:assert/strict';
import {
  contractOf,
  failureBody,
  type AnyMessage,
  type AnyMessageClass,
  type DurableCommandClass,
  type ErrorsOf,
  type PayloadOf,
  type ReplyOf,
  type ReplyOutcome,
} from '@flotilla/contracts-protocol';
import { formatDurationMs } from '@flotilla/kernel';
import type { CancelDecision, SagaDefinition } from '../definition/define-saga.ts';
import type { SagaSignal } from '../definition/signal.ts';
import { drive, type Driven } from '../drive.ts';
import type { HistoryEntry, SagaInstance } from '../instance.ts';
import type { CancelAnswer, RetryAnswer, SagaInput, Transition } from '../transition/contract.ts';
import { startInstance, transition } from '../transition/transition.ts';
import { waitingFor } from '../waiting-for.ts';

export interface SimulationOptions<A> {
  /** The object whose methods the local steps call. Needed if any is reached. */
  readonly actions?: A;
  /** Default `saga-1`. */
  readonly id?: string;
  /** Milliseconds since the epoch at which it starts. Default 0. */
  readonly now?: number;
}

interface InFlight {
  readonly command: AnyMessage;
  readonly commandId: string;
  readonly attempt: number;
}

/** Part of a value, at any depth. */
type PartOf<T> = T extends readonly (infer E)[]
  ? readonly PartOf<E>[]
  : T extends object
    ? { readonly [K in keyof T]?: PartOf<T[K]> }
    : T;

type AnswerTo<C extends DurableCommandClass> = [ReplyOf<C>] extends [void | undefined]
  ? []
  : [reply: ReplyOf<C>];

/**
 * A conversation with one saga, without broker, database or clock: each line is done in its order when the whole is
 * awaited, and an expectation that fails points at its own line. The saga's data goes through JSON at every step, as
 * it does in the database.
 */
export class SagaSimulation<D, A, C extends DurableCommandClass = never> implements PromiseLike<
  SagaInstance<D>
> {
  readonly #definition: SagaDefinition<D, A>;
  readonly #actions: A | undefined;
  readonly #lines: { readonly at: Error; readonly run: () => unknown }[] = [];
  readonly #unexpected: InFlight[] = [];
  readonly #ends: string[] = [];
  readonly #decisions: CancelDecision[] = [];
  /** The latest expected command of each class. */
  readonly #latest = new Map<AnyMessageClass, InFlight>();
  readonly #history: HistoryEntry[] = [];
  #instance: SagaInstance<D> | undefined;
  #now: number;
  #expected: InFlight | undefined;
  #done: Promise<SagaInstance<D>> | undefined;

  constructor(
    definition: SagaDefinition<D, A>,
    data: D,
    { actions, id = 'saga-1', now = 0 }: SimulationOptions<A> = {},
  ) {
    this.#definition = definition;
    this.#actions = actions;
    this.#now = now;
    this.#line(() => this.#settle(startInstance(definition, { id, data }, now)));
  }

  /**
   * The saga has just sent this command, whose payload has at least these fields. The answers that follow are this
   * command's.
   */
  expectCommand<N extends DurableCommandClass>(
    command: N,
    payload?: PartOf<PayloadOf<N>>,
  ): SagaSimulation<D, A, N> {
    this.#line(() => {
      const sent = this.#takeExpected(command);
      if (payload !== undefined) assert.partialDeepStrictEqual(sent.command.payload, payload);
      this.#expected = sent;
    });
    // The same conversation, in which `reply` and `refuse` now take what the command's contract says.
    return this as unknown as SagaSimulation<D, A, N>;
  }

  /** The saga has just sent these commands, in this order; {@link from} says whose answer comes. */
  expectCommands(...commands: readonly DurableCommandClass[]): SagaSimulation<D, A> {
    for (const command of commands) this.#line(() => this.#takeExpected(command));
    return this;
  }

  /** The answer that follows is that of the latest expected command of this class. */
  from<N extends DurableCommandClass>(command: N): SagaSimulation<D, A, N> {
    this.#line(() => {
      this.#expected = this.#latest.get(command);
      assert.ok(this.#expected !== undefined, `${command.contract.type} has not been expected before`);
    });
    return this as unknown as SagaSimulation<D, A, N>;
  }

  /** The receiver of the last expected command answers. */
  reply(...[reply]: AnswerTo<C>): this {
    return this.#answer('ok', () => reply);
  }

  /** The receiver of the last expected command refuses it with an error that its contract declares. */
  refuse<E extends keyof ErrorsOf<C> & string>(code: E, data: ErrorsOf<C>[E], message: string = code): this {
    return this.#answer('refused', () => failureBody({ code, message, data, retry: 'never' }));
  }

  /** The receiver of the last expected command gives up on it for a technical reason. */
  fail(code = 'HANDLER_FAILED', { retry = 'later' }: { retry?: 'later' | 'never' } = {}): this {
    return this.#answer('failed', () => failureBody({ code, message: code, retry }));
  }

  /** An event arrives. */
  event<E extends AnyMessageClass>(eventClass: E, payload: ConstructorParameters<E>[0]): this {
    // Each line of the conversation is an event of its own, so its id is fixed when the line is added.
    const id = `event-${this.#lines.length}`;
    return this.#line(() => this.#input({ type: 'event', id, message: new eventClass(payload) }));
  }

  /** The owner's code sends a signal; every line is a signal of its own unless `id` says otherwise. */
  signal<P>(signal: SagaSignal<P>, payload: NoInfer<P>, id = `signal-${this.#lines.length}`): this {
    return this.#line(() =>
      this.#input({ type: 'signal', id, name: signal.name, payload: signal.parse(payload) }),
    );
  }

  /** Time passes until the saga's timer fires. */
  timeout(): this {
    return this.#line(() => {
      const { dueAt } = this.#current();
      assert.ok(dueAt !== null, `No timer is set. ${this.#where()}`);
      this.#now = dueAt;
      return this.#input({ type: 'timer' });
    });
  }

  /** Time passes; a timer that becomes due fires. */
  after(durationMs: number): this {
    return this.#line(async () => {
      const until = this.#now + durationMs;
      for (let due = this.#current().dueAt; due !== null && due <= until; due = this.#current().dueAt) {
        this.#now = due;
        await this.#input({ type: 'timer' });
      }
      this.#now = until;
    });
  }

  /** A customer asks to cancel. */
  cancel(reason = 'The customer cancelled', expected: CancelAnswer['outcome'] = 'accepted'): this {
    return this.#operate(
      { type: 'cancel', reason: { code: 'cancelled', message: reason }, force: false },
      expected,
    );
  }

  /** An operator aborts. */
  abort(reason = 'An operator aborted', expected: CancelAnswer['outcome'] = 'accepted'): this {
    return this.#operate(
      { type: 'cancel', reason: { code: 'aborted', message: reason }, force: true },
      expected,
    );
  }

  /** An operator retries a parked saga. */
  retry(expected: RetryAnswer['outcome'] = 'resumed'): this {
    return this.#operate({ type: 'retry' }, expected);
  }

  /** A cancellation that was taken has just been decided; each decision is expected once. */
  expectCancelDecided(accepted: boolean, reason?: string): this {
    return this.#line(() => {
      const decision = this.#decisions.shift();
      assert.ok(decision !== undefined, `No cancellation was decided. ${this.#where()}`);
      assert.equal(decision.accepted, accepted, `${decision.reason}. ${this.#where()}`);
      if (reason !== undefined) assert.equal(decision.reason, reason);
    });
  }

  /** The saga's data has at least these fields now. */
  expectData(part: PartOf<D>): this {
    return this.#line(() => assert.partialDeepStrictEqual(this.#current().data, part));
  }

  /** It waits at this step, and nothing more was sent. */
  expectWaiting(step: string): this {
    return this.#line(() => {
      this.#nothingElse();
      assert.equal(this.#current().step, step, this.#where());
      assert.ok(this.#current().waiting !== null, this.#where());
    });
  }

  /** It has ended well, and nothing more was sent. */
  expectCompleted(): this {
    return this.#line(() => this.#ended('completed'));
  }

  /** Everything has been undone, for a reason of this code, and nothing more was sent. */
  expectCompensated(code?: string): this {
    return this.#line(() => {
      this.#ended('compensated');
      if (code !== undefined) assert.equal(this.#current().reason?.code, code, this.#where());
    });
  }

  /** It waits for a person, at this step, for a reason of this code. */
  expectParked(step: string, code?: string): this {
    return this.#line(() => {
      this.#nothingElse();
      const { status, step: at, parked } = this.#current();
      assert.equal(status, 'parked', this.#where());
      assert.equal(at, step, this.#where());
      if (code !== undefined) assert.equal(parked?.code, code, this.#where());
    });
  }

  /** Looks at the instance, between two lines. */
  inspect(look: (instance: SagaInstance<D>, history: readonly HistoryEntry[]) => void): this {
    return this.#line(() => look(this.#current(), this.#history));
  }

  /** Runs the conversation; resolves with the instance at its end. */
  then<R = SagaInstance<D>, F = never>(
    onDone?: ((instance: SagaInstance<D>) => R | PromiseLike<R>) | null,
    onFailed?: ((error: unknown) => F | PromiseLike<F>) | null,
  ): Promise<R | F> {
    this.#done ??= this.#run();
    return this.#done.then(onDone, onFailed);
  }

  async #run(): Promise<SagaInstance<D>> {
    for (const { at, run } of this.#lines) {
      try {
        await run();
      } catch (error) {
        if (error instanceof Error) {
          const [, ...frames] = (at.stack ?? '').split('\n');
          error.stack = [`${error.name}: ${error.message}`, ...frames].join('\n');
        }
        throw error;
      }
    }
    return this.#current();
  }

  #line(run: () => unknown): this {
    assert.ok(this.#done === undefined, 'The conversation is over: add its lines before it is awaited');
    this.#lines.push({ at: new Error(), run });
    return this;
  }

  #operate(input: SagaInput, expected: string): this {
    return this.#line(async () => {
      const { outcome } = await this.#input(input);
      assert.equal(outcome, expected, this.#where());
    });
  }

  #answer(outcome: ReplyOutcome, body: () => unknown): this {
    return this.#line(async () => {
      assert.ok(this.#expected !== undefined, 'Nothing to answer: expectCommand comes first');
      await this.#input({ type: 'reply', commandId: this.#expected.commandId, outcome, body: body() });
    });
  }

  async #input(input: SagaInput): Promise<Transition<D>['answer']> {
    return this.#settle(transition(this.#definition, this.#current(), input, this.#now));
  }

  async #settle(first: Transition<D>): Promise<Transition<D>['answer']> {
    const driven: Driven<D> = await drive(this.#definition, this.#actions as A, first, this.#now);
    const data = JSON.parse(JSON.stringify(driven.instance.data)) as D;
    assert.deepEqual(
      data,
      driven.instance.data,
      'The saga keeps its data as JSON, and this does not survive it',
    );
    this.#instance = { ...driven.instance, data, revision: driven.instance.revision + 1 };
    this.#history.push(...driven.history);
    for (const effect of driven.effects) {
      if (effect.type === 'send') this.#unexpected.push(effect);
      else if (effect.type === 'cancel-decided') {
        this.#decisions.push(effect.decision);
        await this.#definition.onCancelDecided?.(data, this.#actions as A, effect.decision);
      } else if (effect.type === 'completed') {
        this.#ends.push('completed');
        await this.#definition.onCompleted?.(data, this.#actions as A);
      } else {
        this.#ends.push('compensated');
        await this.#definition.onCompensated?.(data, this.#actions as A, effect.reason);
      }
    }
    return driven.answer;
  }

  #takeExpected(command: DurableCommandClass): InFlight {
    const { type } = command.contract;
    const sent = this.#unexpected.shift();
    assert.ok(sent !== undefined, `Expected ${type}, but nothing was sent. ${this.#where()}`);
    const actual = contractOf(sent.command).type;
    assert.equal(actual, type, `Expected ${type}, but ${actual} was sent. ${this.#where()}`);
    this.#latest.set(command, sent);
    return sent;
  }

  #ended(status: 'completed' | 'compensated'): void {
    this.#nothingElse();
    assert.equal(this.#current().status, status, this.#where());
    assert.deepEqual(this.#ends, [status], 'It must end exactly once');
  }

  #nothingElse(): void {
    const types = this.#unexpected.map(({ command }) => contractOf(command).type);
    assert.deepEqual(types, [], `Commands were sent that the conversation does not expect. ${this.#where()}`);
  }

  #current(): SagaInstance<D> {
    assert.ok(this.#instance !== undefined, 'The saga has not started');
    return this.#instance;
  }

  #where(): string {
    const { status } = this.#current();
    return `After ${formatDurationMs(this.#now)} it is ${status} and waits for: ${waitingFor(this.#definition, this.#current(), this.#now)}`;
  }
}

/** Starts a conversation with a saga: `await simulateSaga(fulfilment, data).expectCommand(X).reply({...})...`. */
export function simulateSaga<D, A>(
  definition: SagaDefinition<D, A>,
  data: NoInfer<D>,
  options: SimulationOptions<NoInfer<A>> = {},
): SagaSimulation<D, A> {
  return new SagaSimulation(definition, data, options);
}
