import {
  contractOf,
  InvalidReplyError,
  readFailure,
  type AnyMessage,
  type ReplyOutcome,
} from '@flotilla/contracts-protocol';
import { backoffDelayMs } from '@flotilla/kernel';
import {
  reasonOf,
  SagaAbort,
  SagaPark,
  type CommandCompensation,
  type CommandStep,
  type Fallback,
  type Next,
  type SagaDefinition,
  type SagaReason,
  type SagaStep,
} from './definition.ts';
import {
  hasEnded,
  sagaCommandId,
  type HistoryEntry,
  type HistoryKind,
  type SagaDirection,
  type SagaInstance,
} from './instance.ts';
import { SagaDefinitionFaultError } from './saga.errors.ts';

/** The answer to a saga's command. */
export interface ReplyInput {
  readonly type: 'reply';
  readonly commandId: string;
  readonly outcome: ReplyOutcome;
  readonly body: unknown;
}

/** Everything that can happen to an instance. */
export type SagaInput =
  | ReplyInput
  | { readonly type: 'event'; readonly id: string; readonly message: AnyMessage }
  | { readonly type: 'timer' }
  /** A customer's cancellation; `force` (an operator's abort) also goes past `cancellableUntil` and out of a park. */
  | { readonly type: 'cancel'; readonly reason: SagaReason; readonly force: boolean }
  | { readonly type: 'retry' }
  | { readonly type: 'park'; readonly reason: SagaReason }
  /** What a `run` effect came to; never from outside. */
  | { readonly type: 'ran'; readonly result: unknown }
  | { readonly type: 'run-refused'; readonly failure: SagaReason };

/** What has to be done, in the same unit of work that writes the instance. */
export type SagaEffect =
  | {
      readonly type: 'send';
      readonly command: AnyMessage;
      readonly commandId: string;
      /** From 2 on, the same command is sent again: it needs a transport id of its own. */
      readonly attempt: number;
    }
  /** Run a local action and feed the outcome back as `ran` or `run-refused`, before anything is written. */
  | { readonly type: 'run'; readonly step: string; readonly direction: SagaDirection }
  | { readonly type: 'completed' }
  | { readonly type: 'compensated'; readonly reason: SagaReason };

/** What became of an answer or a timer. */
export type HandledAnswer =
  | { readonly outcome: 'applied' }
  | { readonly outcome: 'buffered' }
  | { readonly outcome: 'ignored'; readonly why: string };

/** What became of a cancellation or an abort. */
export type CancelAnswer =
  /** `after-reply`: the step in flight is awaited first, because its effect must be known to be undone. */
  | { readonly outcome: 'accepted'; readonly when: 'now' | 'after-reply' }
  | { readonly outcome: 'tooLate'; readonly step: string }
  | { readonly outcome: 'alreadyCompensating'; readonly reason: SagaReason }
  | { readonly outcome: 'alreadyEnded'; readonly status: 'completed' | 'compensated' }
  | DefinitionMissing;

/** What became of an operator's retry. */
export type RetryAnswer =
  | { readonly outcome: 'resumed' }
  /** It could not go on for the reason given, and is parked again. */
  | { readonly outcome: 'parkedAgain'; readonly reason: SagaReason }
  | { readonly outcome: 'notParked'; readonly status: SagaInstance['status'] }
  | DefinitionMissing;

/** The version that the instance started with is not registered in this process. */
export interface DefinitionMissing {
  readonly outcome: 'definitionMissing';
  readonly version: number;
}

export type SagaAnswer = HandledAnswer | CancelAnswer | RetryAnswer;

export interface Transition<D> {
  /** The very object that went in, if nothing changed. */
  readonly instance: SagaInstance<D>;
  readonly effects: readonly SagaEffect[];
  readonly history: readonly HistoryEntry[];
  readonly answer: SagaAnswer;
}

export interface StartOptions<D> {
  readonly id: string;
  readonly data: D;
  readonly correlationId?: string;
}

/** How many early events an instance keeps. More is a fault in the conversation, not a need. */
export const MAX_BUFFERED_EVENTS = 32;

const RETRY_DELAY = { initialMs: 1_000, maxMs: 60_000 };

/**
 * The first transition of an instance. Throws {@link SagaDefinitionFaultError} if the definition's functions
 * throw on the way to its first wait: whoever starts it should know.
 */
export function startInstance<D, A>(
  definition: SagaDefinition<D, A>,
  { id, data, correlationId }: StartOptions<D>,
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
      undo: [],
      buffer: [],
      cancel: null,
      reason: null,
      parked: null,
      data,
      correlationId: correlationId ?? null,
      startedAt: now,
      updatedAt: now,
      endedAt: null,
    },
    now,
  );
  draft.start();
  return draft.finish({ outcome: 'applied' });
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
  return draft.finish(draft.take(input));
}

/**
 * The transition of an instance whose definition is not registered: it is parked, events are kept. Nothing else can
 * be said of it; once the version is registered again, an operator's retry goes on.
 */
export function withoutDefinition<D>(
  instance: SagaInstance<D>,
  input: SagaInput,
  now: number,
): Transition<D> {
  const { saga, version, status, step } = instance;
  const missing: DefinitionMissing = { outcome: 'definitionMissing', version };
  const answer: SagaAnswer =
    input.type === 'cancel' || input.type === 'retry' ? missing : ignored('no definition');
  if (hasEnded(instance)) return { instance, effects: [], history: [], answer };
  const reason = {
    code: 'DEFINITION_MISSING',
    message: `Version ${version} of saga ${saga} is not registered: deploy it again beside the newer one, then retry`,
  };
  const history: HistoryEntry[] = [];
  if (input.type === 'reply') {
    history.push({
      at: now,
      kind: 'reply-ignored',
      step,
      detail: { outcome: input.outcome, why: reason.code },
    });
  }
  let buffer = instance.buffer;
  if (input.type === 'event' && buffer.length < MAX_BUFFERED_EVENTS) {
    const { type } = contractOf(input.message);
    buffer = [...buffer, { id: input.id, type, payload: input.message.payload }];
    history.push({ at: now, kind: 'event-buffered', step, detail: { type, eventId: input.id } });
  }
  if (status !== 'parked') history.push({ at: now, kind: 'parked', step, detail: reason });
  if (status === 'parked' && buffer === instance.buffer) return { instance, effects: [], history, answer };
  return {
    instance: {
      ...instance,
      status: 'parked',
      parked: instance.parked ?? { ...reason, at: now },
      waiting: null,
      dueAt: null,
      buffer,
      updatedAt: now,
    },
    effects: [],
    history,
    answer: buffer === instance.buffer ? answer : { outcome: 'buffered' },
  };
}

type Writable<T> = { -readonly [K in keyof T]: T[K] };

const applied: HandledAnswer = { outcome: 'applied' };
const ignored = (why: string): HandledAnswer => ({ outcome: 'ignored', why });

/** One transition being worked out. */
class Draft<D, A> {
  readonly #definition: SagaDefinition<D, A>;
  readonly #before: SagaInstance<D>;
  readonly #now: number;
  readonly #i: Writable<SagaInstance<D>>;
  readonly #effects: SagaEffect[] = [];
  readonly #history: HistoryEntry[] = [];
  #changed = false;

  constructor(definition: SagaDefinition<D, A>, instance: SagaInstance<D>, now: number) {
    this.#definition = definition;
    this.#before = instance;
    this.#i = { ...instance };
    this.#now = now;
  }

  finish(answer: SagaAnswer): Transition<D> {
    if (this.#changed) this.#i.updatedAt = this.#now;
    return {
      instance: this.#changed ? this.#i : this.#before,
      effects: this.#effects,
      history: this.#history,
      answer,
    };
  }

  start(): void {
    this.#changed = true;
    this.#note('started', null, { version: this.#definition.version });
    this.#goForward(0);
  }

  take(input: SagaInput): SagaAnswer {
    try {
      switch (input.type) {
        case 'reply':
          return this.#onReply(input);
        case 'event':
          return this.#onEvent(input.id, input.message);
        case 'timer':
          return this.#onTimer();
        case 'cancel':
          return this.#onCancel(input.reason, input.force);
        case 'retry':
          return this.#onRetry();
        case 'park':
          return this.#onPark(input.reason);
        case 'ran':
          return this.#onRan(input.result);
        case 'run-refused':
          return this.#onRunRefused(input.failure);
      }
    } catch (error) {
      if (!(error instanceof SagaDefinitionFaultError)) throw error;
      // What the transition did before the fault stands; a command that is not answered yet may still be.
      this.#effects.length = 0;
      const reason = { code: error.code, message: error.message };
      this.#parkHere(reason);
      if (input.type === 'retry') return { outcome: 'parkedAgain', reason };
      return input.type === 'cancel' ? { outcome: 'accepted', when: 'now' } : applied;
    }
  }

  // Inputs

  #onReply(input: ReplyInput): HandledAnswer {
    const i = this.#i;
    if (hasEnded(i) || i.commandId === null || i.commandId !== input.commandId) {
      const sent = this.#whichCommand(input.commandId);
      this.#note('reply-ignored', sent?.step ?? null, {
        outcome: input.outcome,
        ...(sent && { direction: sent.direction, epoch: sent.epoch }),
        ...(sent === undefined && { commandId: input.commandId }),
      });
      return ignored(
        sent === undefined
          ? `command ${input.commandId} is not one of this saga's`
          : `the saga no longer waits for the answer to step "${sent.step}" (${sent.direction})`,
      );
    }
    this.#unpark();
    i.commandId = null;
    i.dueAt = null;
    i.waiting = null;
    if (i.direction === 'forward') this.#onForwardReply(input);
    else this.#onUndoReply(input);
    return applied;
  }

  #onForwardReply({ outcome, body }: ReplyInput): void {
    const index = this.#index();
    const step = this.#commandAt(index);
    if (outcome === 'ok') {
      let reply: unknown;
      try {
        reply = step.parseReply(body);
      } catch (error) {
        if (!(error instanceof InvalidReplyError)) throw error;
        this.#onForwardFailure(index, step, { code: error.code, message: error.message }, false);
        return;
      }
      this.#note('replied', step.name);
      this.#stepDone(
        index,
        step,
        call(step, 'onReply', () => step.replied(this.#i.data, reply)),
      );
      return;
    }
    const failure = readFailure(body);
    const reason = reasonOf(failure);
    if (outcome === 'failed') {
      this.#onForwardFailure(index, step, reason, failure.retry === 'later');
      return;
    }
    this.#note('refused', step.name, { code: failure.code, message: failure.message });
    if (this.#i.cancel !== null) return this.#compensate(this.#i.cancel);
    const handler = step.refused(failure);
    if (handler === undefined) {
      if (index > this.#definition.pivot) return this.#parkHere(reason);
      return this.#compensate(reason);
    }
    // What was refused did not happen: there is nothing of this step to undo.
    this.#goOn(
      index,
      call(step, `onRefused.${failure.code}`, () => handler(this.#i.data)),
    );
  }

  #onForwardFailure(index: number, step: CommandStep<D, A>, reason: SagaReason, retriable: boolean): void {
    this.#note('failed', step.name, { code: reason.code, message: reason.message, attempt: this.#i.attempt });
    if (step.onFailed === undefined && this.#i.cancel === null && !this.#compensatesByItself(index, step)) {
      if (retriable && this.#i.attempt <= step.policy.retries) return this.#retryLater();
      return this.#parkHere(reason);
    }
    this.#fallBack(index, step, 'onFailed', step.onFailed, reason);
  }

  #onUndoReply({ outcome, body }: ReplyInput): void {
    const [step, undo] = this.#undoing();
    if (outcome === 'ok') return this.#undone(step);
    const failure = readFailure(body);
    if (outcome === 'refused') {
      if (undo.tolerated.has(failure.code)) return this.#undone(step, { tolerated: failure.code });
      this.#note('refused', step.name, { undo: true, code: failure.code, message: failure.message });
      return this.#parkHere(reasonOf(failure));
    }
    this.#note('failed', step.name, { undo: true, code: failure.code, message: failure.message });
    if (failure.retry === 'later' && this.#i.attempt <= undo.policy.retries) return this.#retryLater();
    this.#parkHere(reasonOf(failure));
  }

  #onEvent(id: string, message: AnyMessage): HandledAnswer {
    const i = this.#i;
    const { type } = contractOf(message);
    const refuse = (why: string): HandledAnswer => {
      this.#note('event-ignored', i.step, { type, eventId: id, why });
      return ignored(why);
    };
    if (hasEnded(i)) return refuse(`the saga has ended: ${i.status}`);
    if (i.direction === 'compensation') return refuse('the saga compensates');
    const index = this.#index();
    const step = this.#definition.steps[index];
    if (step?.kind === 'wait' && awaits(step, type)) {
      const next = call(step, 'onEvent', () => step.arrived(i.data, message));
      this.#unpark();
      this.#note('event', step.name, { type, eventId: id });
      this.#goOn(index, next);
      return applied;
    }
    const later = this.#definition.steps
      .slice(index + 1)
      .some((each) => each.kind === 'wait' && awaits(each, type));
    if (!later) return refuse('no step still to come waits for it');
    if (i.buffer.some((each) => each.id === id)) return ignored('it is kept already');
    if (i.buffer.length >= MAX_BUFFERED_EVENTS)
      return refuse(`${MAX_BUFFERED_EVENTS} early events are kept already`);
    this.#changed = true;
    i.buffer = [...i.buffer, { id, type, payload: message.payload }];
    this.#note('event-buffered', i.step, { type, eventId: id });
    return { outcome: 'buffered' };
  }

  #onTimer(): HandledAnswer {
    const i = this.#i;
    if (i.dueAt === null) return ignored('no timer is set');
    if (i.dueAt > this.#now) return ignored('the timer is not due yet');
    if (i.waiting === 'retry') {
      const { attempt } = i;
      if (i.direction === 'forward') {
        const step = this.#commandAt(this.#index());
        this.#send(
          step.name,
          call(step, 'send', () => step.make(i.data)),
          step.policy.timeoutMs,
          attempt + 1,
        );
      } else {
        this.#goBack(attempt + 1);
      }
      if (this.#effects.some(({ type }) => type === 'send'))
        this.#note('resent', i.step, { attempt: i.attempt });
      return applied;
    }
    const index = i.direction === 'forward' ? this.#index() : -1;
    const waited = this.#definition.steps[index];
    if (waited?.kind === 'wait') {
      const reason = {
        code: 'TIMEOUT',
        message: `${waited.events.map(({ contract }) => contract.type).join(' or ')} did not come within ${waited.timeoutMs} ms`,
      };
      this.#note('timed-out', waited.name);
      this.#fallBack(
        index,
        waited,
        'onTimeout',
        waited.onTimeout ?? this.#defaultFallback(index, waited),
        reason,
      );
      return applied;
    }
    this.#onUnanswered();
    return applied;
  }

  #onUnanswered(): void {
    const i = this.#i;
    const forward = i.direction === 'forward';
    const index = forward ? this.#index() : -1;
    const [step, { command, policy, make }] = forward
      ? [this.#commandAt(index), this.#commandAt(index)]
      : this.#undoing();
    this.#note('timed-out', step.name, { attempt: i.attempt, ...(!forward && { undo: true }) });
    if (i.cancel === null && i.attempt <= policy.retries) {
      const again = call(step, forward ? 'send' : 'compensate.send', () => make(i.data));
      if (again !== undefined) return this.#resend(again, policy.timeoutMs);
    }
    const reason = {
      code: 'TIMEOUT',
      message: `${command.contract.type} was sent ${i.attempt} time(s) and not answered within ${policy.timeoutMs} ms`,
    };
    if (!forward) return this.#parkHere(reason);
    const at = this.#commandAt(index);
    this.#fallBack(index, at, 'onTimeout', at.onTimeout ?? this.#defaultFallback(index, at), reason);
  }

  #onCancel(reason: SagaReason, force: boolean): CancelAnswer {
    const i = this.#i;
    if (i.status === 'completed' || i.status === 'compensated')
      return { outcome: 'alreadyEnded', status: i.status };
    if (i.direction === 'compensation') {
      if (i.status === 'parked' && force) return this.#skipUndo();
      return { outcome: 'alreadyCompensating', reason: i.reason ?? reason };
    }
    if (i.cancel !== null && i.waiting === 'reply') return { outcome: 'accepted', when: 'after-reply' };
    const index = this.#index();
    if (!force && index >= this.#definition.cancellableUntil)
      return { outcome: 'tooLate', step: i.step ?? '' };
    this.#note('cancel-requested', i.step, { code: reason.code, message: reason.message });
    if (i.waiting === 'reply') {
      this.#changed = true;
      i.cancel = reason;
      return { outcome: 'accepted', when: 'after-reply' };
    }
    this.#unpark();
    const step = this.#definition.steps[index];
    // Parked or between two tries: whether the step had an effect is not known, so it is undone too.
    if (step !== undefined) this.#mustUndo(step);
    this.#compensate(reason);
    return { outcome: 'accepted', when: 'now' };
  }

  #onRetry(): RetryAnswer {
    const i = this.#i;
    if (i.status !== 'parked') return { outcome: 'notParked', status: i.status };
    this.#unpark();
    if (i.direction === 'compensation') this.#goBack(1);
    else if (i.cancel !== null) {
      const step = this.#definition.steps[this.#index()];
      if (step !== undefined) this.#mustUndo(step);
      this.#compensate(i.cancel);
    } else this.#goForward(this.#index());
    return { outcome: 'resumed' };
  }

  #onPark(reason: SagaReason): HandledAnswer {
    if (hasEnded(this.#i)) return ignored(`the saga has ended: ${this.#i.status}`);
    if (this.#i.status === 'parked') return ignored('the saga is parked already');
    this.#parkHere(reason);
    return applied;
  }

  #onRan(result: unknown): HandledAnswer {
    if (this.#i.waiting !== 'action') return ignored('no local action is running');
    this.#i.waiting = null;
    // The action's own type says what it returns; it came back through the driver as unknown.
    if (this.#i.direction === 'compensation') {
      if (result !== undefined) this.#i.data = result as D;
      this.#undone(this.#undoStep());
      return applied;
    }
    const index = this.#index();
    const step = this.#stepAt(index);
    this.#note('ran', step.name);
    const next = result as Next<D>;
    if (!(next instanceof SagaAbort) && !(next instanceof SagaPark)) this.#mustUndo(step);
    this.#goOn(index, next);
    return applied;
  }

  #onRunRefused(failure: SagaReason): HandledAnswer {
    if (this.#i.waiting !== 'action') return ignored('no local action is running');
    this.#i.waiting = null;
    const undo = this.#i.direction === 'compensation';
    this.#note('refused', this.#i.step, {
      ...(undo && { undo }),
      code: failure.code,
      message: failure.message,
    });
    if (undo || this.#index() > this.#definition.pivot) this.#parkHere(reasonOf(failure));
    else this.#compensate(reasonOf(failure));
    return applied;
  }

  // Moves

  /** Enters the step at `index`, or the first after it that is not skipped, and goes as far as it can. */
  #goForward(index: number): void {
    const i = this.#i;
    this.#changed = true;
    const step = this.#definition.steps[index];
    if (step === undefined) return this.#end('completed');
    i.step = step.name;
    i.attempt = 1;
    i.commandId = null;
    i.dueAt = null;
    i.waiting = null;
    const { when } = step;
    if (when !== undefined && !call(step, 'when', () => when(i.data))) return this.#goForward(index + 1);
    switch (step.kind) {
      case 'command':
        return this.#send(
          step.name,
          call(step, 'send', () => step.make(i.data)),
          step.policy.timeoutMs,
          1,
        );
      case 'local':
        i.waiting = 'action';
        this.#effects.push({ type: 'run', step: step.name, direction: 'forward' });
        return;
      case 'wait': {
        const kept = i.buffer.find(({ type }) => awaits(step, type));
        const known = kept && step.events.find(({ contract }) => contract.type === kept.type);
        if (kept === undefined || known === undefined) {
          i.waiting = 'event';
          i.dueAt = this.#now + step.timeoutMs;
          return;
        }
        const next = call(step, 'onEvent', () => step.arrived(i.data, new known(kept.payload as never)));
        i.buffer = i.buffer.filter((each) => each !== kept);
        this.#note('event', step.name, { type: kept.type, eventId: kept.id, early: true });
        return this.#goOn(index, next);
      }
    }
  }

  /** A command's step was answered: whatever comes next, its effect is there. */
  #stepDone(index: number, step: CommandStep<D, A>, next: Next<D>): void {
    // A parked step is undone only if the person who looks at it decides so: see #onCancel.
    if (!(next instanceof SagaPark && this.#i.cancel === null)) this.#mustUndo(step);
    this.#goOn(index, next);
  }

  #goOn(index: number, next: Next<D>): void {
    if (this.#i.cancel !== null) return this.#compensate(this.#i.cancel);
    if (next instanceof SagaAbort) return this.#compensate(next.reason);
    if (next instanceof SagaPark) return this.#parkHere(next.reason);
    // An untyped action may return nothing: then the data stays as it is.
    this.#i.data = next ?? this.#i.data;
    this.#goForward(index + 1);
  }

  /** The step's outcome is not known, or (an event) it did not come. */
  #fallBack(
    index: number,
    step: SagaStep<D, A>,
    where: string,
    fallback: Fallback<D> | undefined,
    reason: SagaReason,
  ): void {
    if (this.#i.cancel === null && fallback === 'park') return this.#parkHere(reason);
    if (this.#i.cancel !== null || typeof fallback !== 'function') {
      this.#mustUndo(step);
      return this.#compensate(this.#i.cancel ?? reason);
    }
    const next = call(step, where, () => fallback(this.#i.data));
    if (next instanceof SagaPark) return this.#parkHere(next.reason);
    this.#mustUndo(step);
    this.#goOn(index, next);
  }

  #defaultFallback(index: number, step: SagaStep<D, A>): Fallback<D> {
    return this.#compensatesByItself(index, step) ? 'compensate' : 'park';
  }

  /** A pivot that cannot be undone is, once its effect is unknown, as good as passed. */
  #compensatesByItself(index: number, step: SagaStep<D, A>): boolean {
    const { pivot } = this.#definition;
    return index < pivot || (index === pivot && step.kind !== 'wait' && step.compensation !== undefined);
  }

  #mustUndo(step: SagaStep<D, A>): void {
    if (step.kind !== 'wait' && step.compensation !== undefined) this.#i.undo = [...this.#i.undo, step.name];
  }

  #compensate(reason: SagaReason): void {
    const i = this.#i;
    this.#changed = true;
    i.status = 'compensating';
    i.direction = 'compensation';
    i.reason = reason;
    i.cancel = null;
    i.buffer = [];
    this.#note('compensating', i.step, { code: reason.code, message: reason.message });
    this.#goBack(1);
  }

  /** Undoes the latest step that is still to be undone; ends the saga when none is left. */
  #goBack(attempt: number): void {
    const i = this.#i;
    this.#changed = true;
    i.attempt = attempt;
    i.commandId = null;
    i.dueAt = null;
    i.waiting = null;
    const name = i.undo.at(-1);
    if (name === undefined) return this.#end('compensated');
    i.step = name;
    const step = this.#undoStep();
    const undo = step.kind === 'wait' ? undefined : step.compensation;
    if (undo?.kind === 'local') {
      i.waiting = 'action';
      this.#effects.push({ type: 'run', step: name, direction: 'compensation' });
      return;
    }
    const message = undo && call(step, 'compensate.send', () => undo.make(i.data));
    if (message === undefined) {
      i.undo = i.undo.slice(0, -1);
      return this.#goBack(1);
    }
    this.#send(name, message, undo?.policy.timeoutMs ?? 0, attempt);
  }

  #undone(step: SagaStep<D, A>, detail: Record<string, unknown> | null = null): void {
    this.#note('undone', step.name, detail);
    this.#i.undo = this.#i.undo.slice(0, -1);
    this.#goBack(1);
  }

  #skipUndo(): CancelAnswer {
    this.#unpark();
    this.#note('undo-skipped', this.#i.step);
    this.#i.undo = this.#i.undo.slice(0, -1);
    this.#goBack(1);
    return { outcome: 'accepted', when: 'now' };
  }

  #send(step: string, message: AnyMessage, timeoutMs: number, attempt: number): void {
    const i = this.#i;
    this.#changed = true;
    i.epoch += 1;
    i.attempt = attempt;
    i.commandId = sagaCommandId(i, step, i.direction, i.epoch);
    i.waiting = 'reply';
    i.dueAt = this.#now + timeoutMs;
    this.#effects.push({ type: 'send', command: message, commandId: i.commandId, attempt });
  }

  /** The same command once more: the receiver recognises its id and, if it has handled it, answers as before. */
  #resend(message: AnyMessage, timeoutMs: number): void {
    const i = this.#i;
    if (i.commandId === null)
      throw new TypeError(`Saga ${i.saga} of "${i.id}" waits for an answer to no command`);
    this.#changed = true;
    i.attempt += 1;
    i.dueAt = this.#now + timeoutMs;
    this.#effects.push({ type: 'send', command: message, commandId: i.commandId, attempt: i.attempt });
    this.#note('resent', i.step, { attempt: i.attempt });
  }

  #retryLater(): void {
    this.#changed = true;
    this.#i.waiting = 'retry';
    // No jitter: transitions are pure, and the messages that failed together come back as separate timers anyway.
    this.#i.dueAt = this.#now + backoffDelayMs(this.#i.attempt, RETRY_DELAY, () => 1);
  }

  /** A command that was not answered stays noted: should its answer still come, the saga goes on by itself. */
  #parkHere(reason: SagaReason): void {
    const i = this.#i;
    this.#changed = true;
    i.status = 'parked';
    i.parked = { ...reason, at: this.#now };
    i.waiting = null;
    i.dueAt = null;
    this.#note('parked', i.step, { code: reason.code, message: reason.message });
  }

  #unpark(): void {
    const i = this.#i;
    this.#changed = true;
    if (i.status !== 'parked') return;
    i.status = i.direction === 'forward' ? 'running' : 'compensating';
    i.parked = null;
    this.#note('resumed', i.step);
  }

  #end(status: 'completed' | 'compensated'): void {
    const i = this.#i;
    i.status = status;
    i.step = null;
    i.waiting = null;
    i.commandId = null;
    i.dueAt = null;
    i.attempt = 0;
    i.buffer = [];
    i.endedAt = this.#now;
    this.#note(status, null);
    if (status === 'completed') this.#effects.push({ type: 'completed' });
    else {
      this.#effects.push({
        type: 'compensated',
        reason: i.reason ?? { code: 'compensated', message: 'compensated' },
      });
    }
  }

  // Where we are

  #index(): number {
    const index = this.#definition.steps.findIndex(({ name }) => name === this.#i.step);
    if (index < 0) throw this.#stepGone(this.#i.step);
    return index;
  }

  #stepAt(index: number): SagaStep<D, A> {
    const step = this.#definition.steps[index];
    if (step === undefined) throw this.#stepGone(this.#i.step);
    return step;
  }

  #commandAt(index: number): CommandStep<D, A> {
    const step = this.#stepAt(index);
    if (step.kind !== 'command') throw this.#stepGone(step.name);
    return step;
  }

  #undoStep(): SagaStep<D, A> {
    const name = this.#i.undo.at(-1);
    const step = this.#definition.steps.find((each) => each.name === name);
    if (step === undefined) throw this.#stepGone(name ?? null);
    return step;
  }

  #undoing(): [SagaStep<D, A>, CommandCompensation<D>] {
    const step = this.#undoStep();
    if (step.kind === 'wait' || step.compensation?.kind !== 'command') throw this.#stepGone(step.name);
    return [step, step.compensation];
  }

  #stepGone(step: string | null): SagaDefinitionFaultError {
    const { name, version } = this.#definition;
    return new SagaDefinitionFaultError(
      step ?? '',
      `${name} v${version}`,
      new TypeError(
        'the step is no longer what the instance was at: a changed definition needs a new version',
      ),
    );
  }

  /** Ids are hashes of (step, direction, epoch), so an old answer can be told from a foreign one. */
  #whichCommand(commandId: string): { step: string; direction: SagaDirection; epoch: number } | undefined {
    for (let epoch = this.#i.epoch; epoch > 0; epoch -= 1) {
      for (const { name: step } of this.#definition.steps) {
        for (const direction of ['forward', 'compensation'] as const) {
          if (sagaCommandId(this.#i, step, direction, epoch) === commandId) return { step, direction, epoch };
        }
      }
    }
    return undefined;
  }

  #note(kind: HistoryKind, step: string | null, detail: Record<string, unknown> | null = null): void {
    this.#history.push({ at: this.#now, kind, step, detail });
  }
}

function awaits(
  step: { readonly events: readonly { readonly contract: { readonly type: string } }[] },
  type: string,
): boolean {
  return step.events.some(({ contract }) => contract.type === type);
}

/** Calls a function of the definition; what it throws is a fault of the definition at this step. */
function call<T>(step: { readonly name: string }, where: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new SagaDefinitionFaultError(step.name, where, error);
  }
}
