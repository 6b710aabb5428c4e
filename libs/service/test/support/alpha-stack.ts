import type { AnyMessage, ServiceManifest } from '@flotilla/contracts-protocol';
import { systemClock } from '@flotilla/kernel';
import { NatsBroker, provision, topologyOf, type IncomingMessage } from '@flotilla/messaging';
import { migrate } from '@flotilla/persistence';
import {
  createTestDatabase,
  startTestNats,
  type TestCertificates,
  type TestDatabase,
} from '@flotilla/testing';
import { Client } from 'pg';
import { serviceMigrations } from '../../src/chassis.module.ts';
import { serviceSpecOf } from '../../src/flotilla.module.ts';
import { OutgoingMessages } from '../../src/outgoing.ts';
import { AlphaModule } from '../fixtures/alpha/alpha.module.ts';
import { AlphaProcess } from './alpha-process.ts';

export interface AlphaStackOptions {
  /** Default true. */
  readonly provisioned?: boolean;
  /** Default true. */
  readonly migrated?: boolean;
  /** Other services, whose streams and consumers are provisioned too. */
  readonly beside?: readonly ServiceManifest[];
  /** Default none: NATS listens without TLS. */
  readonly certificates?: TestCertificates;
}

/** NATS and Postgres as the fixture service needs them, without the service; its processes are started by the test. */
export class AlphaStack implements AsyncDisposable {
  readonly database: TestDatabase;
  readonly broker: NatsBroker;
  readonly #nats: Awaited<ReturnType<typeof startTestNats>>;
  readonly #outgoing = new OutgoingMessages('tester', systemClock);
  readonly #processes: AlphaProcess[] = [];

  private constructor(
    nats: Awaited<ReturnType<typeof startTestNats>>,
    database: TestDatabase,
    broker: NatsBroker,
  ) {
    this.#nats = nats;
    this.database = database;
    this.broker = broker;
  }

  static async start({
    provisioned = true,
    migrated = true,
    beside = [],
    certificates,
  }: AlphaStackOptions = {}): Promise<AlphaStack> {
    const spec = serviceSpecOf(AlphaModule);
    const database = await createTestDatabase({ prefix: 'alpha' });
    if (migrated) await migrate({ url: database.url, migrations: serviceMigrations(spec) });
    const nats = await startTestNats(certificates && { config: certificates.natsConfig });
    const broker = await NatsBroker.connect({
      servers: nats.url,
      name: 'tester',
      service: 'tester',
      ...(certificates && { tls: { caFile: certificates.caFile, ...certificates.client } }),
    });
    // Short, so that what a killed process held comes again soon.
    if (provisioned)
      await provision(broker.connection, topologyOf([spec.manifest, ...beside], { ackWaitMs: 1_000 }));
    return new AlphaStack(nats, database, broker);
  }

  get natsUrl(): string {
    return this.#nats.url;
  }

  run(env: Readonly<Record<string, string>> = {}): AlphaProcess {
    const child = new AlphaProcess({
      NATS_URL: this.#nats.url,
      DATABASE_URL: this.database.url,
      PORT: '0',
      ...env,
    });
    this.#processes.push(child);
    return child;
  }

  /** Sends a durable command to whose answer nobody waits. */
  async send(command: AnyMessage): Promise<void> {
    await this.broker.publish(this.#outgoing.command(command));
  }

  /** Makes a request; the answer, whatever its outcome. */
  request(command: AnyMessage): Promise<IncomingMessage> {
    return this.broker.request(this.#outgoing.request(command, Date.now() + 5_000), { timeoutMs: 5_000 });
  }

  async sql<R>(text: string, parameters: readonly unknown[] = []): Promise<R[]> {
    const client = new Client({ connectionString: this.database.adminUrl });
    await client.connect();
    try {
      return (await client.query(text, [...parameters])).rows as R[];
    } finally {
      await client.end();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#processes) {
      child.kill('SIGKILL');
      await child.end();
    }
    await this.broker.close();
    await this.#nats.dispose();
    await this.database.drop();
  }
}
