import type { AnyMessage, ReplyOutcome } from '@flotilla/contracts-protocol';
import { contractOf } from '@flotilla/contracts-protocol';
import { errorMessage, type Clock } from '@flotilla/kernel';
import type { SagaDefinition } from './definition/define-saga.ts';
import { migrated, mismatches } from './definition/migrations.ts';
import type { SagaReason } from './definition/next.ts';
import type { SagaSignal } from './definition/signal.ts';
import type { WaitStep } from './definition/steps.ts';
import { drive } from './drive.ts';
import {
  hasEnded,
  parseSagaKey,
  sagaKey,
  type HistoryEntry,
  type SagaInstance,
  type SagaRef,
  type SagaStatus,
} from './instance.ts';
import { SagaAlreadyStartedError, SagaVersionConflictError, UnknownSagaError } from './saga.errors.ts';
import type { DueTimer, SagaCount, SagaFilter, SagaStore } from './store.ts';
import type {
  CancelAnswer,
  HandledAnswer,
  RetryAnswer,
  SagaAnswer,
  SagaInput,
  Transition,
} from './transition/contract.ts';
import { startInstance, transition } from './transition/transition.ts';
import { withoutDefinition } from './transition/without-definition.ts';
import { waitingFor } from './waiting-for.ts';

/** A command on its way out, inside the unit of work. */
export interface OutgoingSagaCommand {
  readonly command: AnyMessage;
  /** The id of the message (`ce-id`): receivers de-duplicate by it. The same for every sending of one try. */
  readonly commandId: string;
  /** The id of this sending, for the outbox and the broker's de-duplication: differs where `commandId` repeats. */
  readonly messageId: string;
  /** Comes back in {@link SagaReply.sagaId}. */
  readonly sagaId: string;
  /** The ordering key if the command's contract has none: a saga's commands must not overtake each other. */
  readonly key: string;
  readonly correlationId?: string;
  /**
   * Whatever the saga has sent before was answered: there is nothing that this command could overtake, so that it need
   * not stand in line in a stream.
   */
  readonly first?: true;
}

/** Sends durable commands: the service writes them to its outbox in the current unit of work. */
export interface SagaTransport {
  send(message: OutgoingSagaCommand): void | Promise<void>;
}

/** The answer to a command. */
export interface SagaReply {
  /** The command's {@link OutgoingSagaCommand.sagaId}. */
  readonly sagaId: string;
  readonly commandId: string;
  readonly outcome: ReplyOutcome;
  /** The answer, or the failure in the wire's own form. */
  readonly body: unknown;
}

/** An event that sagas may wait for. */
export interface SagaEvent {
  /** The event's own id: an event kept for later is kept once. */
  readonly id: string;
  readonly message: AnyMessage;
}

/** What can reach the engine from outside. */
export type SagaInbound = SagaReply | SagaEvent;

/** There is no such instance. */
export interface UnknownInstance {
  readonly outcome: 'unknown';
}

export type ReplyResult = HandledAnswer | UnknownInstance;
export type EventResult = SagaRef & (HandledAnswer | UnknownInstance);
export type SignalResult = HandledAnswer | UnknownInstance;
export type CancelResult = CancelAnswer | UnknownInstance;
export type RetryResult = RetryAnswer | UnknownInstance;

/** One instance as operators see it. */
export interface SagaSummary extends Omit<SagaInstance, 'data' | 'buffer' | 'commandId' | 'epoch'> {
  /** What it waits for, in a plain sentence. */
  readonly waitingFor: string;
}

/** One instance with everything known of it. */
export interface SagaDetails extends SagaInstance {
  readonly waitingFor: string;
  readonly history: readonly HistoryEntry[];
}

/** One change of one instance, for metrics and logs. Reported inside the unit of work: it may still be rolled back. */
export interface SagaChange extends SagaRef {
  readonly version: number;
  /** Null when it was started. */
  readonly from: SagaStatus | null;
  readonly to: SagaStatus;
  /** When the instance was started, milliseconds since the epoch. */
  readonly startedAt: number;
  /** When it had changed before, milliseconds since the epoch: what has ended now has lasted since then. */
  readonly before: number;
  readonly history: readonly HistoryEntry[];
}

/** A definition together with the actions of its local steps. */
export interface BoundSaga {
  readonly definition: SagaDefinition<unknown, unknown>;
  readonly actions: unknown;
}

/** Binds a definition to the object whose methods its local steps call. */
export function bindSaga<D, A>(definition: SagaDefinition<D, A>, actions: A): BoundSaga {
  // The engine hands a definition only data that the same definition made, and only these actions.
  return { definition: definition as unknown as SagaDefinition<unknown, unknown>, actions };
}

export interface SagaEngineOptions {
  readonly store: SagaStore;
  readonly transport: SagaTransport;
  readonly clock: Clock;
  /** Every definition, older versions with running instances included. */
  readonly sagas: readonly BoundSaga[];
  readonly onChange?: (change: SagaChange) => void;
}

interface CarriedOver {
  readonly instance: SagaInstance | undefined;
  readonly history: readonly HistoryEntry[];
  /** Why it was not carried over. */
  readonly failure?: SagaReason;
}

/** What became of an input: it has changed the instance, or only leaves lines in its history. */
interface Change<T> {
  readonly saved: boolean;
  readonly answer: T;
  readonly history: readonly HistoryEntry[];
}

/** A saga by its name or its definition. */
export type SagaName = string | { readonly name: string };

const nameOf = (saga: SagaName): string => (typeof saga === 'string' ? saga : saga.name);

/**
 * Runs sagas. Every method works inside the caller's unit of work and keeps no state between calls, but what the
 * store recalls. Throws {@link SagaVersionConflictError} when another unit was faster: run the whole unit again.
 */
export class SagaEngine {
  readonly #store: SagaStore;
  readonly #transport: SagaTransport;
  readonly #clock: Clock;
  readonly #sagas = new Map<string, BoundSaga>();
  readonly #newest = new Map<string, BoundSaga>();
  readonly #waits = new Map<string, Map<string, WaitStep<unknown>>>();
  readonly #onChange: ((change: SagaChange) => void) | undefined;
  readonly #timerListeners = new Set<(dueAt: number) => void>();

  constructor({ store, transport, clock, sagas, onChange }: SagaEngineOptions) {
    this.#store = store;
    this.#transport = transport;
    this.#clock = clock;
    this.#onChange = onChange;
    for (const saga of sagas) this.#register(saga);
    const problems = sagas.flatMap(({ definition }) => this.#migrationProblems(definition));
    if (problems.length > 0) {
      throw new TypeError(`Sagas cannot be carried over as declared:\n- ${problems.join('\n- ')}`);
    }
  }

  /**
   * Starts a saga for a business object, in the unit of work that made the object. Throws
   * {@link SagaAlreadyStartedError} if there is one already.
   */
  async start<D, A>(
    definition: SagaDefinition<D, A>,
    id: string,
    data: D,
    options: { readonly correlationId?: string; readonly traceparent?: string } = {},
  ): Promise<SagaRef> {
    const bound = this.#bound(definition.name, definition.version);
    if (bound === undefined)
      throw new UnknownSagaError(`${definition.name} v${definition.version}`, this.#known());
    const now = this.#clock.now();
    const first = startInstance(bound.definition, { id, data, ...options }, now);
    const { instance, effects, history } = await drive(bound.definition, bound.actions, first, now);
    const written = { ...instance, revision: 1 };
    if (!(await this.#store.insert(written, history))) throw new SagaAlreadyStartedError(definition.name, id);
    await this.#carryOut(bound, written, effects);
    this.#changed(null, now, written, history);
    return { saga: definition.name, id };
  }

  /** Takes the answer to a command. `unknown`: there is no such instance (it was purged, or is another service's). */
  async handleReply({ sagaId, commandId, outcome, body }: SagaReply): Promise<ReplyResult> {
    const ref = parseSagaKey(sagaId);
    if (ref === undefined) return { outcome: 'unknown' };
    const reply = { type: 'reply', commandId, outcome, body } as const;
    // Most answers come to the process that has just sent the command.
    const recalled = this.#store.recall?.(ref);
    if (recalled !== undefined) {
      const { saved, answer } = await this.#change<HandledAnswer>(recalled, reply);
      // Nothing to save would be a decision on what may be out of date.
      if (saved) return answer;
    }
    return this.#apply<HandledAnswer>(ref, reply);
  }

  /** The event classes that any registered saga waits for. */
  awaitedEvents(): string[] {
    return [...this.#waits.keys()];
  }

  /**
   * Takes an event for every saga that waits for its type. `unknown`: the event is about an object that has no
   * instance (never had one, or not yet: the caller knows which).
   */
  async handleEvent({ id, message }: SagaEvent): Promise<EventResult[]> {
    const results: EventResult[] = [];
    for (const [saga, wait] of this.#waits.get(contractOf(message).type) ?? []) {
      const ref = { saga, id: wait.instanceOf(message) };
      results.push({ ...ref, ...(await this.#apply<HandledAnswer>(ref, { type: 'event', id, message })) });
    }
    return results;
  }

  /**
   * Tells a saga something, by a signal that one of its steps waits for, now or later. One id counts once. Throws
   * InvalidMessageError for a payload that the signal does not allow, and a TypeError for a signal that is not the
   * definition's.
   */
  signal<D, A, P>(
    definition: SagaDefinition<D, A>,
    id: string,
    signal: SagaSignal<P>,
    payload: NoInfer<P>,
    messageId: string,
  ): Promise<SignalResult> {
    const { name } = signal;
    if (!definition.signals.some((each) => each.name === name)) {
      throw new TypeError(
        `No step of saga ${definition.name} v${definition.version} waits for signal "${name}"`,
      );
    }
    const input = { type: 'signal', id: messageId, name, payload: signal.parse(payload) } as const;
    return this.#apply<HandledAnswer>({ saga: definition.name, id }, input);
  }

  /** The timers in the order in which they are due. */
  nextTimers(limit: number): Promise<DueTimer[]> {
    return this.#store.nextTimers(limit);
  }

  /** Fires an instance's timer if it is due and no other process is at it. */
  async fireTimer(ref: SagaRef): Promise<HandledAnswer> {
    const instance = await this.#store.claimDue(ref, this.#clock.now());
    if (instance === undefined)
      return { outcome: 'ignored', why: 'the timer is not due, or another process fires it' };
    return this.#applyTo<HandledAnswer>(instance, { type: 'timer' });
  }

  /** A customer's wish to cancel. */
  requestCancel(saga: SagaName, id: string, reason: string): Promise<CancelResult> {
    const input = { type: 'cancel', reason: { code: 'cancelled', message: reason }, force: false } as const;
    return this.#apply<CancelAnswer>({ saga: nameOf(saga), id }, input);
  }

  /** An operator's decision to go on with a parked instance: the step is done again, under a new command id. */
  retry(saga: SagaName, id: string, reason?: string): Promise<RetryResult> {
    const input = { type: 'retry', ...(reason !== undefined && { reason }) } as const;
    return this.#apply<RetryAnswer>({ saga: nameOf(saga), id }, input);
  }

  /**
   * An operator's decision to give up: what was done is undone, however far it got. An instance that is parked
   * because a step cannot be undone leaves that step as it is and undoes the others.
   */
  abort(saga: SagaName, id: string, reason: string): Promise<CancelResult> {
    const input = { type: 'cancel', reason: { code: 'aborted', message: reason }, force: true } as const;
    return this.#apply<CancelAnswer>({ saga: nameOf(saga), id }, input);
  }

  /** Stops an instance for a person to look at. An answer that still comes lets it go on. */
  park(saga: SagaName, id: string, reason: SagaReason): Promise<ReplyResult> {
    return this.#apply<HandledAnswer>({ saga: nameOf(saga), id }, { type: 'park', reason });
  }

  /**
   * Carries instances of older versions over, at most `limit` of each, where migrations are declared; says how many
   * there were. One that changes otherwise meanwhile is left to that.
   */
  async migrateOpen(limit: number): Promise<number> {
    let count = 0;
    for (const { saga, version } of await this.#store.countOpen()) {
      if (!this.#hasMigration(saga, version)) continue;
      for (const before of await this.#store.list({ saga, version, status: 'open', limit })) {
        const now = this.#clock.now();
        const carried = this.#carriedOver(before, now);
        if (carried?.instance === undefined) continue;
        const next = { ...carried.instance, revision: before.revision + 1, updatedAt: now };
        if (!(await this.#store.save(before, next, carried.history))) continue;
        this.#changed(before.status, before.updatedAt, next, carried.history);
        count += 1;
      }
    }
    return count;
  }

  async list(filter: SagaFilter = {}): Promise<SagaSummary[]> {
    const instances = await this.#store.list(filter);
    return instances.map((instance) => {
      const { data: _data, buffer: _buffer, commandId: _commandId, epoch: _epoch, ...rest } = instance;
      return { ...rest, waitingFor: this.#waitingFor(instance) };
    });
  }

  /** One instance with its history; undefined if there is none. */
  async show(saga: SagaName, id: string): Promise<SagaDetails | undefined> {
    const ref = { saga: nameOf(saga), id };
    const instance = await this.#store.load(ref);
    if (instance === undefined) return undefined;
    return { ...instance, waitingFor: this.#waitingFor(instance), history: await this.#store.history(ref) };
  }

  history(saga: SagaName, id: string): Promise<HistoryEntry[]> {
    return this.#store.history({ saga: nameOf(saga), id });
  }

  /** How many instances have not ended, by saga, version and status. Cheap: counts open instances only. */
  countOpen(): Promise<SagaCount[]> {
    return this.#store.countOpen();
  }

  /** Versions with open instances that are neither registered here nor carried over. Ask at start: such instances will be parked. */
  async missingDefinitions(): Promise<SagaCount[]> {
    return (await this.#store.countOpen()).filter(
      ({ saga, version }) => this.#bound(saga, version) === undefined && !this.#hasMigration(saga, version),
    );
  }

  /** Deletes instances that ended before then, at most `limit`; says how many. */
  purge(endedBefore: number, limit: number): Promise<number> {
    return this.#store.purge(endedBefore, limit);
  }

  /** Tells of every timer that is set, before its unit of work commits; returns how to stop listening. */
  onTimerSet(listener: (dueAt: number) => void): () => void {
    this.#timerListeners.add(listener);
    return () => this.#timerListeners.delete(listener);
  }

  #register(saga: BoundSaga): void {
    const { name, version, nodes } = saga.definition;
    const key = `${name} v${version}`;
    if (this.#sagas.has(key)) throw new TypeError(`Saga ${key} is registered twice`);
    this.#sagas.set(key, saga);
    const newest = this.#newest.get(name);
    if (newest === undefined || newest.definition.version < version) this.#newest.set(name, saga);
    for (const { step } of nodes.values()) {
      if (step.kind !== 'wait') continue;
      for (const { contract } of step.events) {
        const waits = this.#waits.get(contract.type) ?? new Map<string, WaitStep<unknown>>();
        // How an event names its instance is the same in every step and version; the newest definition's word counts.
        waits.set(name, step);
        this.#waits.set(contract.type, waits);
      }
    }
  }

  #bound(saga: string, version: number): BoundSaga | undefined {
    return this.#sagas.get(`${saga} v${version}`);
  }

  #hasMigration(saga: string, version: number): boolean {
    const newest = this.#newest.get(saga);
    return newest !== undefined && Object.hasOwn(newest.definition.migrations, version);
  }

  /** What is wrong with how registered older versions are carried over to this definition. */
  #migrationProblems(definition: SagaDefinition<unknown, unknown>): string[] {
    return Object.keys(definition.migrations).flatMap((version) => {
      const old = this.#bound(definition.name, Number(version));
      return old === undefined ? [] : mismatches(old.definition, definition);
    });
  }

  /** The instance on the newest version, if a migration covers it: where it is, and all that it refers to. */
  #carriedOver(before: SagaInstance, now: number): CarriedOver | undefined {
    const newest = this.#newest.get(before.saga);
    if (newest === undefined || newest.definition.version === before.version || hasEnded(before))
      return undefined;
    try {
      const instance = migrated(before, newest.definition);
      if (instance === undefined) return undefined;
      const detail = { from: before.version, to: instance.version };
      return { instance, history: [{ at: now, kind: 'migrated', step: instance.step, detail }] };
    } catch (error) {
      const message = `Its data could not be carried over to version ${newest.definition.version}: ${errorMessage(error)}`;
      return { instance: undefined, history: [], failure: { code: 'MIGRATION_FAILED', message } };
    }
  }

  #known(): string[] {
    return [...this.#sagas.keys()];
  }

  #waitingFor(instance: SagaInstance): string {
    return waitingFor(this.#bound(instance.saga, instance.version)?.definition, instance, this.#clock.now());
  }

  async #apply<T extends SagaAnswer>(ref: SagaRef, input: SagaInput): Promise<T | UnknownInstance> {
    const instance = await this.#store.load(ref);
    if (instance === undefined) return { outcome: 'unknown' };
    return this.#applyTo<T>(instance, input);
  }

  async #applyTo<T extends SagaAnswer>(before: SagaInstance, input: SagaInput): Promise<T> {
    const { saved, answer, history } = await this.#change<T>(before, input);
    if (!saved && history.length > 0) await this.#store.record(before, history);
    return answer;
  }

  /** Saves what the input changes, and carries it out; does nothing when it changes nothing. */
  async #change<T extends SagaAnswer>(before: SagaInstance, input: SagaInput): Promise<Change<T>> {
    const now = this.#clock.now();
    const carried = this.#carriedOver(before, now);
    const current = carried?.instance ?? before;
    const bound = this.#bound(current.saga, current.version);
    const first: Transition<unknown> =
      bound === undefined
        ? withoutDefinition(current, input, now, carried?.failure)
        : transition(bound.definition, current, input, now);
    // Each kind of input has its own answers; see SagaInput and the aliases beside it.
    const answer = first.answer as T;
    if (first.instance === current) return { saved: false, answer, history: first.history };
    const driven = bound
      ? await drive(bound.definition, bound.actions, first, now)
      : { ...first, effects: [] };
    const { instance, effects } = driven;
    const history = carried?.instance ? [...carried.history, ...driven.history] : driven.history;
    const written = { ...instance, revision: before.revision + 1 };
    if (!(await this.#store.save(before, written, history))) {
      throw new SagaVersionConflictError(before.saga, before.id, before.revision);
    }
    if (bound) await this.#carryOut(bound, written, effects);
    this.#changed(before.status, before.updatedAt, written, history);
    return { saved: true, answer, history };
  }

  async #carryOut(
    { definition, actions }: BoundSaga,
    instance: SagaInstance,
    effects: Awaited<ReturnType<typeof drive>>['effects'],
  ): Promise<void> {
    for (const effect of effects) {
      switch (effect.type) {
        case 'send': {
          const { command, commandId, attempt } = effect;
          await this.#transport.send({
            command,
            commandId,
            messageId: attempt === 1 ? commandId : `${commandId}.${attempt}`,
            sagaId: sagaKey(instance),
            key: contractOf(command).keyOf?.(command.payload as never) ?? instance.id,
            ...(instance.correlationId !== null && { correlationId: instance.correlationId }),
            ...(attempt === 1 && overtakesNothing(instance) && { first: true }),
          });
          break;
        }
        case 'cancel-decided':
          await definition.onCancelDecided?.(instance.data, actions, effect.decision);
          break;
        case 'completed':
          await definition.onCompleted?.(instance.data, actions);
          break;
        case 'compensated':
          await definition.onCompensated?.(instance.data, actions, effect.reason);
          break;
      }
    }
  }

  #changed(
    from: SagaStatus | null,
    before: number,
    instance: SagaInstance,
    history: readonly HistoryEntry[],
  ): void {
    const { saga, id, version, status: to, dueAt, startedAt } = instance;
    this.#onChange?.({ saga, id, version, from, to, startedAt, before, history });
    if (dueAt !== null && !hasEnded(instance)) for (const listener of this.#timerListeners) listener(dueAt);
  }
}

/** On the undisturbed way forward a command is sent when all before it are answered, but for those beside it in a group. */
function overtakesNothing({ direction, inDoubt }: SagaInstance): boolean {
  return direction === 'forward' && inDoubt !== true;
}
