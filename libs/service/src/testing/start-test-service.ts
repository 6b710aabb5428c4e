import { readFile } from 'node:fs/promises';
import {
  BusinessError,
  contractOf,
  decodeEnvelope,
  readFailure,
  replySubject,
  type AnyMessage,
  type AnyMessageClass,
  type Envelope,
  type PayloadOf,
  type ReplyOf,
} from '@flotilla/contracts-protocol';
import { FlotillaError, newId, systemClock, type Clock } from '@flotilla/kernel';
import {
  NatsBroker,
  payloadHeader,
  permissionsOf,
  provision,
  readPayload,
  topologyOf,
  type TopologyOptions,
  type WatchedMessage,
} from '@flotilla/messaging';
import {
  createLogger,
  createMetrics,
  HealthRegistry,
  noMetrics,
  type Metrics,
} from '@flotilla/observability';
import { migrate, UnitOfWork } from '@flotilla/persistence';
import { createTestDatabase, startTestNats, uniqueName, until, type TestDatabase } from '@flotilla/testing';
import type { NatsConnection } from '@nats-io/nats-core';
import type { InjectionToken, Type } from '@nestjs/common';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { serviceMigrations } from '../chassis.module.ts';
import type { ChassisConfig } from '../config/chassis-settings.ts';
import type { ConfigClass } from '../config/define-config.ts';
import { createService, type RunningService } from '../create-service.ts';
import { readReply, RemoteCalls } from '../cqrs/remote-calls.ts';
import { serviceSpecOf } from '../flotilla.module.ts';
import { OutgoingMessages } from '../outgoing.ts';

export interface StartTestServiceOptions<V> {
  readonly module: Type<unknown>;
  readonly config: ConfigClass<V> & (new (values: never) => ChassisConfig);
  /** Settings beside the ones that the harness gives. */
  readonly env?: Readonly<Record<string, string>>;
  readonly clock?: Clock;
  /** A Postgres of the test's own, for its superuser: one that is stopped, for example. Default: the shared one. */
  readonly postgresUrl?: string;
  /** More lines for the configuration of its NATS server: a smaller `max_payload`, for example. */
  readonly natsConfig?: string;
  /** How its streams and consumers are made: a shorter ack wait, for example. */
  readonly topology?: TopologyOptions;
}

/** What a durable command was answered. */
export type Answer<R> =
  | { readonly outcome: 'ok'; readonly reply: R }
  | { readonly outcome: 'refused' | 'failed'; readonly code: string; readonly data?: unknown };

export interface RecordedEvent<M> {
  readonly envelope: Envelope;
  readonly payload: PayloadOf<M>;
}

/** A real service on a real database and a real broker of its own, with the rest of the fleet played by the test. */
export interface TestService extends AsyncDisposable {
  readonly app: NestFastifyApplication;
  /** The address of its HTTP port. */
  readonly url: string;
  readonly database: TestDatabase | undefined;
  readonly metrics: Metrics;
  /** The harness's own connection, for what it has no shorter way. */
  readonly broker: NatsBroker;
  /** Its NATS server: to kill, freeze or restart it. */
  readonly nats: Awaited<ReturnType<typeof startTestNats>>['server'];
  /** The environment that it was configured from, for a process beside it. */
  readonly env: Readonly<Record<string, string>>;
  /** Calls it as another service does: request/reply over NATS. Throws its declared errors. */
  execute<M extends AnyMessage>(command: M): Promise<ReplyOf<M>>;
  query<M extends AnyMessage>(query: M): Promise<ReplyOf<M>>;
  /** Sends a durable command as a saga does, and waits for the answer; the same `id` is the same command. */
  send<M extends AnyMessage>(command: M, options?: { readonly id?: string }): Promise<Answer<ReplyOf<M>>>;
  /** Publishes another service's event, as that service would; the same `id` is the same event. */
  publish(event: AnyMessage, options?: { readonly id?: string }): Promise<void>;
  /** The events that the service has published so far; without the payload of one whose body is stored apart. */
  events<M extends AnyMessageClass>(type: M): RecordedEvent<M>[];
  /** Waits until it has published as many events of the type; returns them. */
  eventually<M extends AnyMessageClass>(type: M, count?: number): Promise<RecordedEvent<M>[]>;
  /** The durable commands that the service's sagas have sent so far. */
  commands<M extends AnyMessageClass>(type: M): RecordedEvent<M>[];
  /** Answers the latest command of the type as its service would. */
  answer<M extends AnyMessageClass>(
    type: M,
    outcome: 'ok' | 'refused' | 'failed',
    body: unknown,
  ): Promise<void>;
  /** Rows of its database, read or written as the service's own role. */
  sql<R>(text: string, parameters?: readonly unknown[]): Promise<R[]>;
  /** An injectable of the service. */
  get<T>(token: InjectionToken | Type<T>): T;
  /** A second process of the service on the same database and broker; stopped with the first. */
  startReplica(): Promise<RunningService>;
  /** Stops the service as SIGTERM would, and the servers; fails if it leaves a connection open. */
  stop(): Promise<void>;
}

const HARNESS = 'harness';
/** Only what ends a service, unless the run asks for more. */
const logLevel = process.env['TEST_LOG_LEVEL'] === undefined ? 'fatal' : 'debug';

/** Starts a service for tests. Dispose of it, or call `stop()`, in the test that started it. */
export async function startTestService<V>(options: StartTestServiceOptions<V>): Promise<TestService> {
  const spec = serviceSpecOf(options.module);
  const { manifest } = spec;
  const clock = options.clock ?? systemClock;
  // The harness sends commands, so that there is a queue for the answers.
  const harness = {
    ...manifest,
    name: HARNESS,
    standsInFor: [],
    answers: [],
    handles: [],
    publishes: [],
    reacts: {},
    watches: [],
    patterns: { answers: [], reacts: [], calls: [], emits: [] },
    sends: manifest.answers.filter(({ contract }) => contract.kind === 'command'),
  };
  const credentials = { user: manifest.name, password: newId() };
  const nats = await startTestNats({
    users: [
      { user: HARNESS, password: newId() },
      { ...credentials, permissions: permissionsOf(manifest, [manifest, harness]) },
    ],
    // The test and what it plays may do everything; the service is held to what its manifest says.
    config: [
      `no_auth_user: ${HARNESS}`,
      ...(options.natsConfig === undefined ? [] : [options.natsConfig]),
    ].join('\n'),
  });
  const undo: (() => Promise<unknown>)[] = [() => assertNothingRefused(nats.server), () => nats.dispose()];
  try {
    const migrations = serviceMigrations(spec);
    const database = manifest.database
      ? await createTestDatabase({
          ...(options.postgresUrl !== undefined && { adminUrl: options.postgresUrl }),
          template: {
            name: manifest.name,
            migrate: async (url, applicationRole) =>
              void (await migrate({ url, migrations, applicationRole })),
          },
        })
      : undefined;
    if (database) undo.unshift(() => database.drop());

    const client = await NatsBroker.connect({
      servers: [nats.url],
      name: HARNESS,
      service: HARNESS,
      log: createLogger({ service: HARNESS, level: logLevel }),
    });
    undo.unshift(() => client.close({ drainMs: 1_000 }));
    await provision(client.connection, topologyOf([manifest, harness], options.topology));

    const recorder = new Recorder();
    for (const subject of ['evt.>', 'cmd.>', 'reply.>'])
      await client.watch(subject, (message) => recorder.record(message));
    // A watch is a subscription: without a round trip the server may not know of it yet.
    await client.connection.flush();

    const env = {
      NATS_URL: nats.url,
      NATS_USER: credentials.user,
      NATS_PASSWORD: credentials.password,
      PORT: '0',
      DRAIN_MS: '2000',
      RETRY_INITIAL_MS: '20',
      RETRY_MAX_MS: '100',
      ...(database && { DATABASE_URL: database.applicationUrl }),
      ...options.env,
    };
    const startOne = async (): Promise<{ service: RunningService; url: string; metrics: Metrics }> => {
      const config = options.config.fromEnvironment<ChassisConfig>(env);
      const metrics = createMetrics({ service: manifest.name, process: false });
      const logger = createLogger({ service: manifest.name, level: logLevel });
      const broker = await NatsBroker.connect({
        servers: config.natsUrl,
        name: manifest.name,
        service: manifest.name,
        credentials,
        inlineMaxBytes: config.inlineMaxBytes,
        stuckAfterMs: config.stuckAfterMs,
        metrics,
        log: logger,
      });
      // For a service that cannot be made; one that was closes it itself.
      undo.unshift(() => broker.close({ drainMs: 0 }));
      const service = await createService({
        module: options.module,
        spec,
        config,
        configClass: options.config,
        broker,
        connection: broker.connection,
        clock,
        logger,
        metrics,
        health: new HealthRegistry(),
      });
      undo.unshift(() => service.stop());
      const { url } = await service.start();
      return { service, url, metrics };
    };
    const first = await startOne();

    const outgoing = new OutgoingMessages(HARNESS, clock);
    const remote = new RemoteCalls(client, outgoing, clock, noMetrics);
    const stop = (): Promise<void> => undoAll(undo);
    return {
      app: first.service.app,
      url: first.url,
      database,
      metrics: first.metrics,
      broker: client,
      nats: nats.server,
      env,
      execute: <M extends AnyMessage>(command: M) => remote.call(command) as Promise<ReplyOf<M>>,
      query: <M extends AnyMessage>(query: M) => remote.call(query) as Promise<ReplyOf<M>>,
      async send<M extends AnyMessage>(command: M, { id = newId() }: { readonly id?: string } = {}) {
        const conversation = uniqueName('conversation');
        const message = outgoing.command(command, {
          id,
          replyTo: replySubject(HARNESS, conversation),
          correlationId: undefined,
        });
        const since = recorder.replies.length;
        // Every sending is a message of its own to the broker; the service knows the command by its id.
        await client.publish({ ...message, id: newId() });
        const reply = await until(
          () => recorder.replies.slice(since).find(({ envelope }) => envelope.causationId === id),
          {
            describe: `the answer to ${contractOf(command).type}`,
          },
        );
        return toAnswer<ReplyOf<M>>(command, await completed(reply, client.connection));
      },
      async publish(event, { id } = {}) {
        const message = outgoing.event(event);
        const headers = id === undefined ? message.headers : { ...message.headers, 'ce-id': id };
        await client.publish({ ...message, headers });
      },
      events: (type) => recorder.events(type),
      eventually: async (type, count = 1) => {
        await until(() => recorder.events(type).length >= count, {
          describe: `${count} × ${type.contract.type} (there are ${recorder.events(type).length})`,
        });
        return recorder.events(type);
      },
      commands: (type) => recorder.commands(type),
      async answer(type, outcome, body) {
        const last = await until(() => recorder.commands(type).at(-1), {
          describe: `a ${type.contract.type}`,
        });
        const { envelope } = last;
        if (envelope.replyTo === undefined)
          throw new FlotillaError('NO_REPLY_WANTED', `${envelope.type} wants no answer`);
        const id = newId();
        await client.publish({
          id,
          subject: envelope.replyTo,
          key: envelope.subject,
          ...outgoing.reply(envelope, id, outcome, body),
        });
      },
      async sql<R>(text: string, parameters: readonly unknown[] = []) {
        const unitOfWork = first.service.app.get(UnitOfWork);
        return unitOfWork.run(() => unitOfWork.query<R>(text, parameters));
      },
      get: <T>(token: InjectionToken | Type<T>) => first.service.app.get<T>(token as Type<T>),
      startReplica: async () => (await startOne()).service,
      stop,
      [Symbol.asyncDispose]: stop,
    };
  } catch (error) {
    // Why it did not start matters more than what its ruins do not do.
    await undoAll(undo).catch(() => undefined);
    throw error;
  }
}

/** Fails when the service has tried what its NATS user may not do: its manifest, or what is derived from it, lacks it. */
async function assertNothingRefused({
  logFile,
}: Awaited<ReturnType<typeof startTestNats>>['server']): Promise<void> {
  const refused = (await readFile(logFile, 'utf8')).match(/(?:Publish|Subscription) Violation - .*/g);
  if (refused === null) return;
  throw new FlotillaError(
    'NATS_PERMISSION_MISSING',
    `The service's NATS user may not do what the service did:\n${[...new Set(refused)].join('\n')}\n` +
      'Declare it in the manifest, or derive it in permissionsOf of @flotilla/messaging.',
  );
}

/** Does all of it, in order, whatever fails; then throws the first failure. */
async function undoAll(actions: (() => Promise<unknown>)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const action of actions.splice(0)) await action().catch((error: unknown) => failures.push(error));
  if (failures.length > 0) throw failures[0];
}

/** An answer with its body, where that is stored apart. */
async function completed(recorded: Recorded, connection: NatsConnection): Promise<Recorded> {
  const { headers, subject } = recorded;
  if (!(payloadHeader.ref in headers)) return recorded;
  const body = await readPayload(connection, subject, headers, 5_000);
  return { ...recorded, body: JSON.parse(new TextDecoder().decode(body)) as unknown };
}

interface Recorded {
  readonly headers: Readonly<Record<string, string>>;
  readonly envelope: Envelope;
  readonly subject: string;
  readonly body: unknown;
}

class Recorder {
  readonly #stored = new Set<string>();
  readonly #messages: Recorded[] = [];
  readonly replies: Recorded[] = [];

  record({ subject, headers, body }: WatchedMessage): void {
    // What is published again, because nobody knew that it had arrived, is one message in its stream.
    const stored = headers['Nats-Msg-Id'];
    if (stored !== undefined && this.#stored.has(stored)) return;
    if (stored !== undefined) this.#stored.add(stored);
    const recorded = {
      headers,
      envelope: decodeEnvelope((name) => headers[name]),
      subject,
      // A body that is stored apart is not in what a watcher sees.
      body: body.length === 0 ? undefined : (JSON.parse(new TextDecoder().decode(body)) as unknown),
    };
    (subject.startsWith('reply.') ? this.replies : this.#messages).push(recorded);
  }

  events<M extends AnyMessageClass>(type: M): RecordedEvent<M>[] {
    return this.#of('evt.', type);
  }

  commands<M extends AnyMessageClass>(type: M): RecordedEvent<M>[] {
    return this.#of('cmd.', type);
  }

  #of<M extends AnyMessageClass>(prefix: string, type: M): RecordedEvent<M>[] {
    return this.#messages
      .filter(({ subject, envelope }) => subject.startsWith(prefix) && envelope.type === type.contract.type)
      .map(({ envelope, body }) => ({ envelope, payload: body as PayloadOf<M> }));
  }
}

function toAnswer<R>(command: AnyMessage, { envelope, body, subject }: Recorded): Answer<R> {
  try {
    const bytes = new TextEncoder().encode(JSON.stringify(body));
    const message = { subject, headers: {}, envelope, body: bytes, json: () => body };
    return { outcome: 'ok', reply: readReply(contractOf(command), message) as R };
  } catch (error) {
    if (isRefusal(error)) return { outcome: 'refused', code: error.code, data: error.data };
    return { outcome: 'failed', code: readFailure(body).code };
  }
}

function isRefusal(error: unknown): error is BusinessError {
  return error instanceof BusinessError;
}
