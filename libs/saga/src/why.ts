import type { Contract } from '@flotilla/contracts-protocol';
import { formatDurationMs } from '@flotilla/kernel';
import type { SagaDefinition } from './definition/define-saga.ts';
import { compensationOf, type SagaStep } from './definition/steps.ts';
import { hasEnded, type Cursor, type SagaInstance } from './instance.ts';
import { waitingFor } from './waiting-for.ts';

/** One thing that an instance waits for, or one of its branches. */
export interface SagaWait {
  readonly step: string | null;
  readonly kind: 'answer' | 'event' | 'signal' | 'retry' | 'itself';
  /** The command, or the events of which one is awaited; empty without the definition. */
  readonly contracts: readonly Contract[];
  readonly signal?: string;
  /** Of the command whose answer is awaited. */
  readonly commandId?: string;
  /** When it stops waiting. */
  readonly dueAt: number | null;
}

/** What was found out about a wait. What could not be found out is left out. */
export interface WaitFacts {
  readonly wait: SagaWait;
  /** Processes of the service that runs the saga which answered. */
  readonly ownerProcesses?: number;
  /** Why the owner takes no answers, or no events, if it takes none. */
  readonly ownerPaused?: string;
  /** Answers or events that wait at the owner. */
  readonly ownerPending?: number;
  /** The command on its way out. `handed-over`: asked for by a request, and answered. */
  readonly outbox?: {
    readonly state: 'waiting' | 'refused' | 'published' | 'handed-over';
    readonly since: number;
    readonly error?: string;
  };
  /** Who must answer. */
  readonly receiver?: {
    readonly service: string;
    readonly consumer: string;
    readonly stream: string;
    /** Whether the consumer is on the server. */
    readonly exists: boolean;
    /** Processes that answered. */
    readonly processes: number;
    /** Messages that wait in it, and that are delivered and not settled. */
    readonly pending: number;
    readonly inFlight: number;
    /** Why it takes none, by the word of a process: its handler fails on everything, or it is stuck. */
    readonly paused?: string;
    /** Where the command is. */
    readonly position?: 'queued' | 'delivered' | 'settled';
    readonly ahead?: number;
  };
  /** The dead letter of that very command, answer or event. */
  readonly deadLetter?: {
    readonly number: number;
    readonly what: 'command' | 'answer' | 'event';
    readonly at: string;
    readonly error: string;
  };
}

/** For so long a command may be on its way to its receiver as a request, before it counts as not published. */
const HANDOVER_MS = 5_000;

/** What an instance waits for, piece by piece; none once it has ended or is parked. */
export function waitsOf<D, A>(
  definition: Pick<SagaDefinition<D, A>, 'nodes'> | undefined,
  instance: Omit<SagaInstance, 'data'>,
): SagaWait[] {
  if (hasEnded(instance) || instance.status === 'parked') return [];
  const undo = instance.direction === 'compensation';
  const open = instance.branches.filter(({ parked }) => parked === null);
  const cursors: readonly Cursor[] = open.length > 0 ? open : [instance];
  return cursors.map((cursor) => waitOf(definition?.nodes.get(cursor.step ?? '')?.step, cursor, undo));
}

function waitOf<D, A>(step: SagaStep<D, A> | undefined, cursor: Cursor, undo: boolean): SagaWait {
  const { step: name, waiting, commandId, dueAt } = cursor;
  const common = { step: name, dueAt, contracts: [] };
  if (waiting === 'reply') {
    const compensation = step && compensationOf(step);
    const sent = undo
      ? compensation?.kind === 'command'
        ? compensation
        : undefined
      : step?.kind === 'command'
        ? step
        : undefined;
    return {
      ...common,
      kind: 'answer',
      contracts: sent === undefined ? [] : [sent.command.contract],
      ...(commandId !== null && { commandId }),
    };
  }
  if (waiting === 'event' && step?.kind === 'wait' && step.signal)
    return { ...common, kind: 'signal', signal: step.signal.name };
  if (waiting === 'event') {
    const contracts = step?.kind === 'wait' ? step.events.map(({ contract }) => contract) : [];
    return { ...common, kind: 'event', contracts };
  }
  return { ...common, kind: waiting === 'retry' ? 'retry' : 'itself' };
}

/**
 * Why an instance waits, in one sentence: what for, and the strongest of the facts that keep it. `facts` has one entry
 * for each of its waits.
 */
export function explainWaiting<D, A>(
  definition: Pick<SagaDefinition<D, A>, 'nodes'> | undefined,
  instance: Omit<SagaInstance, 'data'>,
  owner: string,
  facts: readonly WaitFacts[],
  now: number,
): string {
  const sentence = waitingFor(definition, instance, now).replace(/\.$/, '');
  const reasons = new Set(facts.flatMap((each) => reasonOf(each, owner, now) ?? []));
  return reasons.size === 0 ? `${sentence}.` : `${sentence}: ${[...reasons].join('; ')}.`;
}

/** The strongest fact first. */
function reasonOf(facts: WaitFacts, owner: string, now: number): string | undefined {
  const { wait, deadLetter } = facts;
  if (facts.ownerProcesses === 0) return `${owner}, which runs it, does not answer (is it running?)`;
  if (deadLetter !== undefined) {
    const { number, what, at, error } = deadLetter;
    return `the ${what} is dead letter ${number} since ${at} (${error}): fleet dlq show ${number}`;
  }
  const outward =
    wait.kind === 'answer' ? (reasonOfCommand(facts, now) ?? reasonOfAnswer(facts, owner)) : undefined;
  return outward ?? reasonOfEvent(facts, owner) ?? reasonOfTimer(facts, owner, now);
}

function reasonOfCommand({ outbox, receiver }: WaitFacts, now: number): string | undefined {
  if (outbox?.state === 'refused')
    return `the broker refused the command ${ago(outbox.since, now)}${outbox.error === undefined ? '' : ` (${outbox.error})`}`;
  if (outbox?.state === 'waiting' && now - outbox.since > HANDOVER_MS && receiver?.processes !== 0)
    return `the command is committed ${ago(outbox.since, now)} and not published: is the broker there?`;
  if (receiver === undefined || receiver.position === 'settled' || outbox?.state === 'handed-over')
    return undefined;
  const { service, consumer, stream, pending, inFlight, position, ahead } = receiver;
  const waits = `${pending} message(s) wait there, ${inFlight} in flight`;
  if (!receiver.exists) return `consumer ${consumer} of ${stream} is not on the server: fleet provision`;
  if (receiver.processes === 0) return `${service}, which must answer, does not run (${waits})`;
  if (receiver.paused !== undefined) return `${receiver.paused} (${waits})`;
  if (position === 'queued')
    return `it is in the queue of ${service}${ahead === undefined || ahead === 0 ? '' : ` behind ${ahead} other(s)`} (${waits})`;
  if (position === 'delivered') return `${service} has it and is not done with it (${waits})`;
  return undefined;
}

function reasonOfAnswer(
  { outbox, receiver, ownerPaused, ownerPending }: WaitFacts,
  owner: string,
): string | undefined {
  const handled = receiver?.position === 'settled' || outbox?.state === 'handed-over';
  if (ownerPaused !== undefined) return ownerPaused;
  if (handled && (ownerPending ?? 0) > 0)
    return `${receiver?.service ?? 'its receiver'} is done with it, and ${ownerPending} answer(s) wait at ${owner}`;
  if (handled) return `${receiver?.service ?? 'its receiver'} is done with it, and its answer is on the way`;
  return undefined;
}

function reasonOfEvent(
  { wait, receiver, ownerPaused, ownerPending }: WaitFacts,
  owner: string,
): string | undefined {
  if (wait.kind === 'signal') return `nobody has told ${owner} yet`;
  if (wait.kind !== 'event') return undefined;
  if (ownerPaused !== undefined) return ownerPaused;
  if ((ownerPending ?? 0) > 0) return `${ownerPending} event(s) wait at ${owner}, it may be among them`;
  if (receiver?.processes === 0) return `${receiver.service}, which publishes it, does not run`;
  return receiver === undefined
    ? undefined
    : `${receiver.service} has not published it, as far as ${owner} was told`;
}

function reasonOfTimer({ wait, ownerPaused }: WaitFacts, owner: string, now: number): string | undefined {
  const { dueAt } = wait;
  if (dueAt === null || dueAt > now) return ownerPaused;
  const why =
    ownerPaused === undefined
      ? `see "saga-timers" in the health of ${owner}`
      : `timers wait while ${ownerPaused}`;
  return `its timer is due ${ago(dueAt, now)} and has not fired: ${why}`;
}

function ago(at: number, now: number): string {
  return `since ${formatDurationMs(Math.max(0, now - at))}`;
}
