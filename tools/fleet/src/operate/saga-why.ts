import {
  commandStream,
  eventStream,
  replyStream,
  type Contract,
  type ServiceManifest,
} from '@flotilla/contracts-protocol';
import { systemClock } from '@flotilla/kernel';
import {
  commandConsumer,
  DeadLetters,
  reactionConsumer,
  replyConsumer,
  type DeadLetter,
} from '@flotilla/messaging';
import { explainWaiting, waitsOf, type SagaInstance, type SagaWait, type WaitFacts } from '@flotilla/saga';
import type { ConsumersAnswer, ConsumerState } from '@flotilla/service';
import { jetstreamManager, type ConsumerInfo, type JetStreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import type { DeclaredSaga } from '../sagas/saga-definitions.ts';
import { askEach } from './ask-owner.ts';
import type { SagaOwner } from './saga-owners.ts';

/** A service of the fleet, as far as it matters here. */
export interface KnownService {
  readonly name: string;
  readonly manifest: ServiceManifest;
}

/** Why a saga waits: the sentence, and what it was made of. */
export interface SagaWhy {
  readonly waitingFor: string;
  readonly facts: readonly (Omit<WaitFacts, 'wait'> & { readonly wait: ShownWait })[];
}

/** A wait with the types of its contracts instead of the contracts. */
export type ShownWait = Omit<SagaWait, 'contracts'> & { readonly types: readonly string[] };

/** Dead letters that are looked through for the one that matters, at most. */
const LOOK_AT_LETTERS = 50_000;

/** Finds out why a saga waits, from the owner's database, the broker and the processes. Changes nothing. */
export class WhySaga {
  readonly #connection: NatsConnection;
  readonly #services: readonly KnownService[];
  readonly #processes = new Map<string, Promise<ConsumersAnswer[]>>();
  #manager: Promise<JetStreamManager> | undefined;

  constructor(connection: NatsConnection, services: readonly KnownService[]) {
    this.#connection = connection;
    this.#services = services;
  }

  async explain(owner: SagaOwner, instance: SagaInstance, sagas: readonly DeclaredSaga[]): Promise<SagaWhy> {
    const definition = sagas.find(
      ({ name, version }) => name === instance.saga && version === instance.version,
    );
    const waits = waitsOf(definition, instance);
    const facts = await Promise.all(waits.map((wait) => this.#factsOf(owner, instance, wait)));
    return {
      waitingFor: explainWaiting(definition, instance, owner.service, facts, systemClock.now()),
      facts: facts.map(({ wait: { contracts, ...wait }, ...rest }) => ({
        wait: { ...wait, types: contracts.map(({ type }) => type) },
        ...rest,
      })),
    };
  }

  async #factsOf(owner: SagaOwner, instance: SagaInstance, wait: SagaWait): Promise<WaitFacts> {
    const [contract] = wait.contracts;
    const [at, more] = await Promise.all([
      this.#ownerFacts(owner, wait),
      contract === undefined
        ? {}
        : wait.kind === 'answer'
          ? this.#answerFacts(owner, instance, wait, contract)
          : this.#eventFacts(owner, instance, wait, contract),
    ]);
    return { wait, ...at, ...more };
  }

  async #ownerFacts(
    { service }: SagaOwner,
    wait: SagaWait,
  ): Promise<Pick<WaitFacts, 'ownerProcesses' | 'ownerPaused' | 'ownerPending'>> {
    const processes = await this.#ask(service);
    const [event] = wait.contracts;
    const reaction = event === undefined ? undefined : this.#reactionOf(service, event);
    const [stream, consumer] =
      wait.kind === 'event' && event !== undefined && reaction !== undefined
        ? [eventStream(event.owner), reactionConsumer(service, reaction)]
        : [replyStream(service), replyConsumer(service)];
    const info = await this.#info(stream, consumer);
    const paused = troubleOf(processes, stream, consumer);
    return {
      ownerProcesses: processes.length,
      ...(info && { ownerPending: info.num_pending + info.num_ack_pending }),
      ...(paused !== undefined && { ownerPaused: paused }),
    };
  }

  async #answerFacts(
    owner: SagaOwner,
    instance: SagaInstance,
    { commandId }: SagaWait,
    contract: Contract,
  ): Promise<Partial<WaitFacts>> {
    const service = this.#answererOf(contract) ?? contract.owner;
    const [stream, consumer] = [commandStream(contract.owner), commandConsumer(service)];
    const [row, info, processes, letter] = await Promise.all([
      commandId === undefined ? undefined : outboxRow(owner, instance, commandId),
      this.#info(stream, consumer),
      this.#ask(service),
      commandId === undefined ? undefined : this.#letterOf(owner.service, service, commandId),
    ]);
    const paused = troubleOf(processes, stream, consumer);
    const position = row?.sequence === undefined ? undefined : positionOf(row.sequence, info);
    return {
      ...(row && { outbox: row.facts }),
      receiver: {
        service,
        consumer,
        stream,
        exists: info !== undefined,
        processes: processes.length,
        pending: info?.num_pending ?? 0,
        inFlight: info?.num_ack_pending ?? 0,
        ...(paused !== undefined && { paused }),
        ...position,
      },
      ...(letter && { deadLetter: letter }),
    };
  }

  async #eventFacts(
    owner: SagaOwner,
    instance: SagaInstance,
    wait: SagaWait,
    event: Contract,
  ): Promise<Partial<WaitFacts>> {
    const reaction = this.#reactionOf(owner.service, event);
    const consumer = reactionConsumer(owner.service, reaction ?? event.name);
    const types = new Set(wait.contracts.map(({ type }) => type));
    const publisher = this.#services.find(({ manifest }) =>
      manifest.publishes.some(({ contract }) => types.has(contract.type)),
    );
    const service = publisher?.name ?? event.owner;
    const [processes, info, letter] = await Promise.all([
      this.#ask(service),
      this.#info(eventStream(event.owner), consumer),
      this.#findLetter(
        owner.service,
        (each) => each.consumer === consumer && types.has(each.type ?? '') && each.subject === instance.id,
      ),
    ]);
    return {
      receiver: {
        service,
        consumer,
        stream: eventStream(event.owner),
        exists: info !== undefined,
        processes: processes.length,
        pending: info?.num_pending ?? 0,
        inFlight: info?.num_ack_pending ?? 0,
      },
      ...(letter && { deadLetter: letterFacts(letter, 'event') }),
    };
  }

  /** The command at its receiver, or its answer at the owner. */
  async #letterOf(owner: string, receiver: string, commandId: string): Promise<WaitFacts['deadLetter']> {
    const command = await this.#findLetter(receiver, ({ messageId }) => messageId === commandId);
    if (command) return letterFacts(command, 'command');
    const answer = await this.#findLetter(
      owner,
      ({ headers, originalSubject }) =>
        originalSubject.startsWith('reply.') && headers['ce-causationid'] === commandId,
    );
    return answer && letterFacts(answer, 'answer');
  }

  async #findLetter(
    service: string,
    matches: (letter: DeadLetter) => boolean,
  ): Promise<DeadLetter | undefined> {
    let looked = 0;
    for await (const letter of new DeadLetters(this.#connection).each({ service })) {
      if (matches(letter)) return letter;
      if (++looked === LOOK_AT_LETTERS) return undefined;
    }
    return undefined;
  }

  #answererOf({ type }: Contract): string | undefined {
    return this.#services.find(({ manifest }) =>
      manifest.answers.some(({ contract }) => contract.type === type),
    )?.name;
  }

  #reactionOf(service: string, { type }: Contract): string | undefined {
    const manifest = this.#services.find(({ name }) => name === service)?.manifest;
    return Object.entries(manifest?.reacts ?? {}).find(([, { events }]) =>
      events.some(({ contract }) => contract.type === type),
    )?.[0];
  }

  /** What the processes of a service say of their consumers; none when it does not run. */
  #ask(service: string): Promise<ConsumersAnswer[]> {
    let asked = this.#processes.get(service);
    if (asked === undefined) {
      asked = askEach(this.#connection, {
        subject: `ops.${service}.consumers`,
        type: 'ops.consumers.list',
        about: service,
        body: { action: 'list' },
      }) as Promise<ConsumersAnswer[]>;
      this.#processes.set(service, asked);
    }
    return asked;
  }

  /** Undefined: it is not on the server. */
  async #info(stream: string, consumer: string): Promise<ConsumerInfo | undefined> {
    this.#manager ??= jetstreamManager(this.#connection, { checkAPI: false });
    try {
      return await (await this.#manager).consumers.info(stream, consumer);
    } catch (error) {
      if (error instanceof Error && /not found/i.test(error.message)) return undefined;
      throw error;
    }
  }
}

interface OutboxFound {
  readonly facts: NonNullable<WaitFacts['outbox']>;
  readonly sequence?: number;
}

/** The latest sending of a command, as the owner's outbox has it. */
async function outboxRow(
  { query }: SagaOwner,
  { startedAt }: SagaInstance,
  commandId: string,
): Promise<OutboxFound | undefined> {
  const [row] =
    (await query?.<{
      created: number;
      published: number | null;
      refused: boolean;
      error: string | null;
      stream: string | null;
      sequence: string | null;
    }>(
      `SELECT (extract(epoch FROM created_at) * 1000)::float8 AS created,
              (extract(epoch FROM published_at) * 1000)::float8 AS published,
              refused_at IS NOT NULL AS refused, error, stream, sequence
         FROM outbox
        WHERE created_at >= to_timestamp($1::float8 / 1000) - interval '1 minute'
          AND (id = $2 OR starts_with(id, $2 || '.'))
        ORDER BY position DESC LIMIT 1`,
      [startedAt, commandId],
    )) ?? [];
  if (row === undefined) return undefined;
  if (row.published === null) {
    const state = row.refused ? 'refused' : 'waiting';
    return { facts: { state, since: row.created, ...(row.error !== null && { error: row.error }) } };
  }
  if (row.stream === null || row.sequence === null)
    return { facts: { state: 'handed-over', since: row.published } };
  return { facts: { state: 'published', since: row.published }, sequence: Number(row.sequence) };
}

function positionOf(
  sequence: number,
  info: ConsumerInfo | undefined,
): Pick<NonNullable<WaitFacts['receiver']>, 'position' | 'ahead'> {
  if (info === undefined) return {};
  if (sequence <= info.ack_floor.stream_seq) return { position: 'settled' };
  if (sequence <= info.delivered.stream_seq) return { position: 'delivered' };
  // Others on the stream may be for other filters: it is at most so many.
  return {
    position: 'queued',
    ahead: Math.min(info.num_pending - 1, sequence - info.delivered.stream_seq - 1),
  };
}

/** Why a consumer takes nothing, by the word of the processes: only if none of them takes any. */
function troubleOf(
  processes: readonly ConsumersAnswer[],
  stream: string,
  consumer: string,
): string | undefined {
  const states = processes.flatMap(({ consumers }) =>
    consumers.filter((each) => each.stream === stream && each.consumer === consumer),
  );
  const troubled = states.filter(({ paused, stuck }) => paused !== undefined || stuck !== undefined);
  const [first] = troubled;
  return first === undefined || troubled.length < states.length ? undefined : troubleLine(first);
}

function troubleLine({ consumer, paused, stuck }: ConsumerState): string {
  if (paused !== undefined)
    return `consumer ${consumer} is paused since ${new Date(paused.since).toISOString()}, because its handler fails on everything: ${paused.errorCode}: ${paused.errorMessage}`;
  return `consumer ${consumer} is stuck (${stuck ?? ''})`;
}

function letterFacts(
  { sequence, at, errorCode, errorMessage }: DeadLetter,
  what: 'command' | 'answer' | 'event',
): NonNullable<WaitFacts['deadLetter']> {
  return { number: sequence, what, at, error: `${errorCode}: ${errorMessage}` };
}
