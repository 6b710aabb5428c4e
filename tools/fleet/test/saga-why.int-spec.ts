import {
  commandSubject,
  defineCommand,
  defineEvent,
  defineService,
  encodeEnvelope,
  eventSubject,
  replySubject,
} from '@flotilla/contracts-protocol';
import { newId, partitionOf } from '@flotilla/kernel';
import { connectNats, NatsBroker, provision, topologyOf, type Consumption } from '@flotilla/messaging';
import {
  bindSaga,
  command,
  defineSaga,
  PostgresSagaStore,
  SagaEngine,
  sagaKey,
  signal,
  waitFor,
  waitForSignal,
  type OutgoingSagaCommand,
} from '@flotilla/saga';
import { chassisServiceMigrations } from '@flotilla/service/migrations';
import { createTestDatabase, ManualClock, startTestNats, until, type TestDatabase } from '@flotilla/testing';
import { jetstreamManager } from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';
import { Client } from 'pg';
import { z } from 'zod';
import type { SagaOwner } from '../src/operate/saga-owners.ts';
import { WhySaga, type SagaWhy } from '../src/operate/saga-why.ts';
import type { DeclaredSaga } from '../src/sagas/saga-definitions.ts';

const payload = z.object({ id: z.string() });
class Ship extends defineCommand({
  owner: 'carrier',
  name: 'Ship',
  version: 1,
  payload,
  key: ({ id }) => id,
}) {}
class Sent extends defineEvent({
  owner: 'carrier',
  name: 'Sent',
  version: 1,
  payload,
  aggregate: ({ id }) => id,
}) {}

const shop = defineService({ name: 'shop', sends: [Ship], reacts: { parcels: { events: [Sent] } } });
const carrier = defineService({ name: 'carrier', handles: [Ship], publishes: [Sent] });
const services = [shop, carrier].map((manifest) => ({ name: manifest.name, manifest }));

const approval = signal('approval', z.object({}));
const delivery = defineSaga<{ id: string }>({ name: 'delivery', version: 1 }, [
  command('ship', Ship, { send: ({ id }) => ({ id }), timeoutMs: 600_000, retries: 0 }),
  waitFor('sent', Sent, { timeoutMs: 600_000 }),
  waitForSignal('approved', approval, { timeoutMs: 600_000 }),
]);
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

describe('why a saga waits', () => {
  let nats: Awaited<ReturnType<typeof startTestNats>>;
  let database: TestDatabase;
  let client: Client;
  let connection: NatsConnection;
  let owner: SagaOwner;
  let engine: SagaEngine;
  let clock: ManualClock;
  let shopBroker: NatsBroker;
  let carrierBroker: NatsBroker | undefined;
  let sent: OutgoingSagaCommand | undefined;
  /** How the broker takes what the outbox publishes. */
  let publishing: 'at once' | 'not' | 'refused' | 'handed over';

  beforeAll(async () => {
    nats = await startTestNats();
    database = await createTestDatabase({ prefix: 'why' });
    const { migrate } = await import('@flotilla/persistence/migrate');
    await migrate({ url: database.url, migrations: chassisServiceMigrations });
    client = new Client({ connectionString: database.url });
    await client.connect();
    connection = await connectNats({ servers: nats.url, name: 'test' });
  });
  afterAll(async () => {
    await connection.close();
    await client.end();
    await database.drop();
    await nats.dispose();
  });
  beforeEach(async () => {
    const manager = await jetstreamManager(connection);
    for await (const name of manager.streams.names()) await manager.streams.delete(name);
    await provision(connection, topologyOf([shop, carrier]));
    await client.query('TRUNCATE saga_instances, saga_history, outbox');
    publishing = 'at once';
    sent = undefined;
    clock = new ManualClock(Date.now());
    const query = async <R>(sql: string, params?: unknown[]): Promise<R[]> =>
      (await client.query(sql, params)).rows as R[];
    const store = new PostgresSagaStore({ query });
    owner = { service: 'shop', store, query };
    engine = new SagaEngine({
      store,
      clock,
      transport: { send: (message) => void (sent = message) },
      sagas: [bindSaga(delivery, undefined)],
    });
    shopBroker = await runs('shop');
    carrierBroker = undefined;
  });
  afterEach(async () => {
    await shopBroker.close({ drainMs: 0 });
    await carrierBroker?.close({ drainMs: 0 });
  });

  /** A process of a service, which tells how its consumers do. */
  async function runs(name: string, consumptions: Record<string, Consumption> = {}): Promise<NatsBroker> {
    const broker = await NatsBroker.connect({ servers: nats.url, name, service: name, log: quiet });
    await broker.serve(`ops.${name}.consumers`, { queue: newId(), maxInFlight: 4 }, async ({ envelope }) => ({
      headers: envelopeOf(envelope.type, name, name, { outcome: 'ok' }),
      body: JSON.stringify({
        process: name,
        consumers: Object.entries(consumptions).map(([stream, consumption]) => ({
          stream,
          consumer: name,
          ...consumption.state(),
        })),
      }),
    }));
    return broker;
  }
  async function runCarrier(
    handle: () => Promise<void>,
    options: Parameters<NatsBroker['consume']>[1] = {},
  ): Promise<Consumption> {
    const consumptions: Record<string, Consumption> = {};
    carrierBroker = await runs('carrier', consumptions);
    const consumption = await carrierBroker.consume(
      { stream: 'CMD_carrier', name: 'carrier' },
      options,
      handle,
    );
    consumptions['CMD_carrier'] = consumption;
    return consumption;
  }

  function envelopeOf(type: string, source: string, subject: string, more: object): Record<string, string> {
    const id = newId();
    const time = new Date().toISOString();
    return { ...encodeEnvelope({ id, type, source, time, subject, correlationId: id, ...more }) };
  }
  const publish = (subject: string, key: string, headers: Record<string, string>, body: object) =>
    shopBroker.publish({ id: newId(), subject, key, headers, body: JSON.stringify(body) });
  const ship = (id: string, commandId = newId()) =>
    publish(
      commandSubject(Ship.contract, id),
      id,
      envelopeOf(Ship.contract.type, 'shop', id, {
        id: commandId,
        replyTo: replySubject('shop', `delivery:${id}`),
      }),
      { id },
    );

  /** A saga whose command is on its way, as the outbox would have sent it. */
  async function begun(): Promise<string> {
    const id = newId();
    await engine.start(delivery, id, { id });
    const { commandId, key } = sent!;
    const receipt = publishing === 'at once' ? await ship(id, commandId) : undefined;
    const published = publishing === 'at once' || publishing === 'handed over';
    await client.query(
      `INSERT INTO outbox (id, partition, key, subject, headers, body, created_at, published_at, stream, sequence, refused_at, error)
       VALUES ($1, $2, $3, 's', '{}', '{}', now() - interval '1 minute', $4, $5, $6, $7, $8)`,
      [
        commandId,
        partitionOf(key),
        key,
        published ? new Date() : null,
        receipt?.stream ?? null,
        receipt?.sequence ?? null,
        publishing === 'refused' ? new Date() : null,
        publishing === 'refused' ? 'maximum bytes exceeded' : null,
      ],
    );
    return id;
  }
  const answered = async (id: string): Promise<void> => {
    const { instance } = { instance: await owner.store.load({ saga: 'delivery', id }) };
    await engine.handleReply({
      sagaId: sagaKey({ saga: 'delivery', id }),
      commandId: instance?.commandId ?? '',
      outcome: 'ok',
      body: null,
    });
  };
  const why = async (id: string, known: typeof services = services): Promise<SagaWhy> => {
    const instance = await owner.store.load({ saga: 'delivery', id });
    return new WhySaga(connection, known).explain(owner, instance!, [delivery as unknown as DeclaredSaga]);
  };
  const sentence = async (id: string): Promise<string> => (await why(id)).waitingFor;
  const becomes = (id: string, expected: RegExp): Promise<unknown> =>
    until(async () => expected.test(await sentence(id)), { timeoutMs: 20_000, describe: String(expected) });

  describe('for an answer', () => {
    it('because who must answer does not run', async () => {
      const id = await begun();
      const { waitingFor, facts } = await why(id);
      expect(waitingFor).toMatch(
        /^The answer to carrier\.Ship\.v1 \(step "ship", .*\): carrier, which must answer, does not run \(1 message\(s\) wait there, 0 in flight\)\.$/,
      );
      expect(facts).toMatchObject([
        {
          wait: { step: 'ship', kind: 'answer', types: ['carrier.Ship.v1'] },
          ownerProcesses: 1,
          outbox: { state: 'published' },
          receiver: {
            service: 'carrier',
            exists: true,
            processes: 0,
            pending: 1,
            position: 'queued',
            ahead: 0,
          },
        },
      ]);
      // Facts are plain data.
      expect(JSON.parse(JSON.stringify(facts))).toEqual(facts);
    });

    it('because the command is not published, or was refused', async () => {
      await runCarrier(async () => undefined);
      publishing = 'not';
      expect(await sentence(await begun())).toMatch(
        /: the command is committed since 1m.* and not published/,
      );
      publishing = 'refused';
      expect(await sentence(await begun())).toMatch(
        /: the broker refused the command since 1m.* \(maximum bytes exceeded\)\.$/,
      );
    });

    it('because the consumer is not on the server', async () => {
      await runCarrier(async () => undefined);
      const id = await begun();
      await (await jetstreamManager(connection)).consumers.delete('CMD_carrier', 'carrier');
      expect(await sentence(id)).toMatch(
        /: consumer carrier of CMD_carrier is not on the server: fleet provision\.$/,
      );
    });

    it('because its consumer is paused', async () => {
      await runCarrier(() => Promise.reject(new Error('no vans')), {
        killSwitch: { failures: 2, windowMs: 60_000, probeInitialMs: 60_000, probeMaxMs: 60_000 },
      });
      for (let n = 0; n < 2; n++) await ship(`other-${n}`);
      const id = await begun();
      await becomes(
        id,
        /: consumer carrier is paused since .*, because its handler fails on everything: Error: no vans \(/,
      );
    });

    it('because it is in the queue behind others, then because it is worked on', async () => {
      const waiting: (() => void)[] = [];
      await runCarrier(() => new Promise((resolve) => waiting.push(resolve)), { maxInFlight: 1 });
      for (let n = 0; n < 5; n++) await ship(`other-${n}`);
      const id = await begun();
      await becomes(
        id,
        /: it is in the queue of carrier behind 3 other\(s\) \(4 message\(s\) wait there, 2 in flight\)\.$/,
      );
      await until(() => {
        waiting.splice(0, waiting.length > 1 ? 1 : waiting.length).forEach((done) => done());
        return sentence(id).then((text) => text.includes('carrier has it and is not done with it'));
      });
    });

    it('because the command died', async () => {
      await runCarrier(() => Promise.reject(new Error('no vans')), { maxAttempts: 1 });
      await becomes(
        await begun(),
        /: the command is dead letter 1 since .* \(Error: no vans\): fleet dlq show 1\.$/,
      );
    });

    it('because its answer is on the way, waits or died', async () => {
      await runCarrier(async () => undefined);
      const id = await begun();
      await becomes(id, /: carrier is done with it, and its answer is on the way\.$/);
      const { commandId } = sent!;
      await publish(
        replySubject('shop', `delivery:${id}`),
        id,
        envelopeOf(Ship.contract.type, 'carrier', id, { causationId: commandId, outcome: 'ok' }),
        {},
      );
      expect(await sentence(id)).toMatch(/: carrier is done with it, and 1 answer\(s\) wait at shop\.$/);
      await shopBroker.consume({ stream: 'REPLY_shop', name: 'shop' }, { maxAttempts: 1 }, () =>
        Promise.reject(new Error('no ink')),
      );
      await becomes(id, /: the answer is dead letter 1 since .* \(Error: no ink\)/);
    });

    it('that was handed over, and is on its way back', async () => {
      await runCarrier(async () => undefined);
      publishing = 'handed over';
      expect(await sentence(await begun())).toMatch(
        /: carrier is done with it, and its answer is on the way\.$/,
      );
    });
  });

  describe('for an event', () => {
    const waitsForEvent = async (): Promise<string> => {
      const id = await begun();
      await answered(id);
      return id;
    };
    const tell = (id: string) =>
      publish(eventSubject(Sent.contract, id), id, envelopeOf(Sent.contract.type, 'carrier', id, {}), { id });

    it('because it was not published, by one that runs or not', async () => {
      const id = await waitsForEvent();
      expect(await sentence(id)).toMatch(
        /^The event carrier\.Sent\.v1 \(step "sent".*\): carrier, which publishes it, does not run\.$/,
      );
      await runCarrier(async () => undefined);
      expect(await sentence(id)).toMatch(/: carrier has not published it, as far as shop was told\.$/);
    });

    it('because its consumer is behind, or it died there', async () => {
      await runCarrier(async () => undefined);
      const id = await waitsForEvent();
      await tell(id);
      await becomes(id, /: 1 event\(s\) wait at shop, it may be among them\.$/);
      await shopBroker.consume({ stream: 'EVT_carrier', name: 'shop-parcels' }, { maxAttempts: 1 }, () =>
        Promise.reject(new Error('no ink')),
      );
      await becomes(id, /: the event is dead letter 1 since .* \(Error: no ink\)/);
    });
  });

  it('for a signal, because nobody gave it', async () => {
    const id = await begun();
    await answered(id);
    await engine.handleEvent({ id: newId(), message: new Sent({ id }) });
    expect(await sentence(id)).toMatch(
      /^The signal approval \(step "approved".*\): nobody has told shop yet\.$/,
    );
  });

  it('because its own service does not run', async () => {
    const id = await begun();
    await shopBroker.close({ drainMs: 0 });
    expect(await sentence(id)).toMatch(/: shop, which runs it, does not answer \(is it running\?\)\.$/);
  });

  it('because its timer has not fired', async () => {
    await runCarrier(async () => undefined);
    const id = await begun();
    await becomes(id, /its answer is on the way/);
    await client.query(
      `UPDATE saga_instances SET due_at = now() - interval '5 minutes', progress = jsonb_set(progress, '{waiting}', '"retry"')`,
    );
    expect(await sentence(id)).toMatch(
      /^The next try after a technical failure \(.*\): its timer is due since 5m.* and has not fired: see "saga-timers" in the health of shop\.$/,
    );
  });

  it('for a person, and for nothing once it has ended', async () => {
    const id = await begun();
    await engine.park(delivery, id, { code: 'LOOK', message: 'Odd totals' });
    expect(await why(id)).toEqual({
      waitingFor: expect.stringMatching(/^A person: .*LOOK/) as string,
      facts: [],
    });
  });
});
