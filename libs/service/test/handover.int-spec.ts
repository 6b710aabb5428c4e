import { envelopeHeader, rpcSubject } from '@flotilla/contracts-protocol';
import { newId, systemClock } from '@flotilla/kernel';
import type { Broker, IncomingMessage } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { jetstreamManager } from '@nats-io/jetstream';
import { OutgoingMessages } from '../src/outgoing.ts';
import { startTestService } from '../src/testing/index.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { Begin, Charge } from './fixtures/contracts.ts';
import { AlphaStack } from './support/alpha-stack.ts';

const beta = new OutgoingMessages('beta', systemClock);

type Answer = (command: IncomingMessage) => { outcome: 'ok' | 'refused' | 'failed'; body: unknown };

/** The service beta, as far as it answers requests. */
async function serveCharges(broker: Broker, answer: Answer): Promise<IncomingMessage[]> {
  const asked: IncomingMessage[] = [];
  await broker.serve(rpcSubject(Charge.contract), { queue: 'beta', maxInFlight: 10 }, (command) => {
    asked.push(command);
    const { outcome, body } = answer(command);
    return Promise.resolve(beta.reply(command.envelope, newId(), outcome, body));
  });
  return asked;
}

const OUTBOX = `SELECT id, stream, published_at IS NOT NULL AS published FROM outbox WHERE subject LIKE 'cmd.%'`;
const STATUS = 'SELECT status FROM tabs WHERE tab_id = $1';

describe('a command of a saga', () => {
  it('is answered by whoever serves requests for it, without touching a stream', async () => {
    await using alpha = await startTestService({ module: AlphaModule, config: AlphaConfig });
    const asked = await serveCharges(alpha.broker, () => ({ outcome: 'ok', body: { chargeId: 'c-1' } }));
    const tabId = newId();
    await alpha.execute(new Begin({ tabId }));
    await until(async () => (await alpha.sql<{ status: string }>(STATUS, [tabId]))[0]?.status === 'charged');
    await until(async () => (await alpha.sql<{ published: boolean }>(OUTBOX))[0]?.published);

    expect(asked).toHaveLength(1);
    expect(asked[0]?.envelope).toMatchObject({ subject: tabId, source: 'alpha' });
    expect(await alpha.sql(OUTBOX)).toEqual([{ id: asked[0]?.envelope.id, stream: null, published: true }]);
    const manager = await jetstreamManager(alpha.broker.connection);
    for (const stream of ['CMD_beta', 'REPLY_alpha'])
      expect((await manager.streams.info(stream)).state.last_seq).toBe(0);
  });

  it('that is refused is a refusal to the saga', async () => {
    await using alpha = await startTestService({ module: AlphaModule, config: AlphaConfig });
    await serveCharges(alpha.broker, () => ({
      outcome: 'refused',
      body: { code: 'Declined', message: 'no', data: {}, retry: 'never' },
    }));
    const tabId = newId();
    await alpha.execute(new Begin({ tabId }));
    await until(
      async () => (await alpha.sql<{ status: string }>(STATUS, [tabId]))[0]?.status === 'given up: declined',
    );
  });

  it('waits in its stream when the receiver fails or is not there, under the same id', async () => {
    await using alpha = await startTestService({ module: AlphaModule, config: AlphaConfig });
    const [nobody, failing] = [newId(), newId()];
    await alpha.execute(new Begin({ tabId: nobody }));
    const first = await until(() => alpha.commands(Charge)[0]);
    expect(first.payload).toEqual({ tabId: nobody });
    await alpha.answer(Charge, 'ok', { chargeId: 'c-1' });
    await until(async () => (await alpha.sql<{ status: string }>(STATUS, [nobody]))[0]?.status === 'charged');

    const replica = await alpha.startReplica();
    const asked = await serveCharges(alpha.broker, () => ({
      outcome: 'failed',
      body: { code: 'DATABASE_UNAVAILABLE', message: 'away', retry: 'later' },
    }));
    // Requests go to either process; the one that has met nobody does not ask for a while, the other one does.
    await until(async () => {
      const tabId = `${failing}-${asked.length}-${newId()}`;
      await alpha.execute(new Begin({ tabId }));
      await until(() => alpha.commands(Charge).some(({ payload }) => payload.tabId === tabId));
      return asked.length > 0;
    });
    await until(() => alpha.commands(Charge).some(({ envelope }) => envelope.id === asked[0]?.envelope.id));
    await replica.stop();
  });

  it('is sent again through its stream when its sender dies before it has the answer', async () => {
    await using stack = await AlphaStack.start();
    const killed = stack.run();
    await killed.ready();
    const asked = await serveCharges(stack.broker, () => {
      killed.kill('SIGKILL');
      return { outcome: 'ok', body: { chargeId: 'c-1' } };
    });
    const tabId = newId();
    await stack.send(new Begin({ tabId }));
    expect(await killed.end()).toBe('SIGKILL');
    expect(asked).toHaveLength(1);
    const [row] = await stack.sql<{ id: string; published: boolean }>(OUTBOX);
    expect(row).toMatchObject({ id: asked[0]?.envelope.id, published: false });

    await stack.run().ready();
    const manager = await jetstreamManager(stack.broker.connection);
    const again = await until(
      () => manager.streams.getMessage('CMD_beta', { seq: 1 }).catch(() => undefined),
      { describe: 'a relay has published it', timeoutMs: 20_000 },
    );
    expect(again?.header.get(envelopeHeader.id)).toBe(asked[0]?.envelope.id);
    const { headers, body } = beta.reply(asked[0]!.envelope, newId(), 'ok', { chargeId: 'c-1' });
    const subject = asked[0]!.envelope.replyTo!;
    await stack.broker.publish({ id: newId(), subject, key: tabId, headers, body });
    await until(async () => (await stack.sql<{ status: string }>(STATUS, [tabId]))[0]?.status === 'charged');
  }, 60_000);
});
