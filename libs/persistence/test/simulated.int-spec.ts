import { SimulatedPostgres } from '@flotilla/testing/simulated-postgres';
import { until } from '@flotilla/testing';
import { createDataSource, migrate, Outbox, UnitOfWork } from '../src/index.ts';
import { message, Opened, RecordingLog } from './database.ts';
import { FakeBroker } from './fake-broker.ts';

const url = 'postgres://service@simulated/service';
let server: SimulatedPostgres;
let opened: Opened;
/** Breaks connections at these points. */
let cut: (point: { readonly kind: string; readonly text: string }) => boolean;

beforeEach(async () => {
  opened = new Opened();
  cut = () => false;
  server = new SimulatedPostgres({
    step: (point) => (cut(point) ? Promise.reject(new Error('cut by the test')) : Promise.resolve()),
    now: () => new Date(),
    random: () => 0.5,
  });
  server.createDatabase('service');
  await migrate({ url, driver: server.driver });
});
afterEach(() => opened.close());

async function service(
  publish = true,
): Promise<{ unitOfWork: UnitOfWork; broker: FakeBroker; log: RecordingLog }> {
  const log = new RecordingLog();
  const broker = new FakeBroker();
  const connection = { url, driver: server.driver };
  const outbox = opened.add(new Outbox({ connection, log, relayGraceMs: 50, relayPollMs: 20 }), (each) =>
    each.close({ drainMs: 200 }),
  );
  const dataSource = opened.add(await createDataSource({ ...connection, poolSize: 4 }).initialize(), (each) =>
    each.destroy(),
  );
  const unitOfWork = opened.add(new UnitOfWork({ dataSource, log, ...(publish && { outbox }) }), (each) =>
    each.close({ withinMs: 1_000 }),
  );
  if (publish) await outbox.start(broker);
  return { unitOfWork, broker, log };
}

const entry = (messageId: string) => ({ consumer: 'test', messageId });

it('commits units with their inbox and outbox rows, publishes and marks', async () => {
  const { unitOfWork, broker } = await service();
  const work = (key: string) => () => {
    unitOfWork.current?.send(message(key));
    unitOfWork.current?.remember({ key });
    return Promise.resolve(key);
  };
  const outcomes = await Promise.all(
    ['a', 'b', 'a', 'c'].map((key) => unitOfWork.process(entry(`of ${key}`), work(key))),
  );
  expect(outcomes.filter(({ duplicate }) => duplicate)).toHaveLength(1);
  await expect(unitOfWork.process(entry('of b'), work('b'))).resolves.toEqual({
    duplicate: true,
    reply: { key: 'b' },
  });
  await until(
    () => server.rows('service', 'outbox').filter((row) => row['published_at'] !== null).length === 3,
  );
  expect(broker.stored.map(({ key }) => key).sort()).toEqual(['a', 'b', 'c']);
  expect(server.rows('service', 'inbox')).toHaveLength(3);
});

it('undoes the member of a group that fails, and keeps the others', async () => {
  const { unitOfWork } = await service();
  const results = await Promise.allSettled(
    ['1', '2', '3'].map((id) =>
      unitOfWork.process(entry(id), async () => {
        await unitOfWork.query(`INSERT INTO inbox (consumer, message_id) VALUES ('by hand', $1)`, [id]);
        if (id === '2') throw new Error('refused');
      }),
    ),
  );
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  const rows = server
    .rows('service', 'inbox')
    .map((row) => `${String(row['consumer'])} ${String(row['message_id'])}`);
  expect(rows.sort()).toEqual(['by hand 1', 'by hand 3', 'test 1', 'test 3']);
});

it('refuses to write outside of a unit of work', async () => {
  const { unitOfWork } = await service();
  await expect(unitOfWork.query('DELETE FROM inbox')).rejects.toMatchObject({ code: 'OUTSIDE_UNIT_OF_WORK' });
});

it('does not know whether it has committed when the answer is lost, and finds it done when it comes again', async () => {
  const { unitOfWork } = await service();
  let cuts = 1;
  cut = ({ kind, text }) => kind === 'answer' && text === 'COMMIT' && cuts-- > 0;
  const send = () =>
    unitOfWork.process(entry('once'), () => {
      unitOfWork.current?.send(message('k'));
      return Promise.resolve('done');
    });
  await expect(send()).rejects.toMatchObject({ code: 'COMMIT_OUTCOME_UNKNOWN' });
  await expect(send()).resolves.toMatchObject({ duplicate: true });
  // Nobody has it in memory any more: the relay finds it in the table.
  await until(() => server.rows('service', 'outbox').some((row) => row['published_at'] !== null));
});

it('loses nothing and keeps nothing when the connection breaks before the commit', async () => {
  const { unitOfWork } = await service();
  let cuts = 1;
  cut = ({ kind, text }) => kind === 'commit' && text === 'COMMIT' && cuts-- > 0;
  const once = () => unitOfWork.process(entry('again'), () => Promise.resolve('done'));
  await expect(once()).rejects.toMatchObject({ code: 'COMMIT_OUTCOME_UNKNOWN' });
  expect(server.rows('service', 'inbox')).toHaveLength(0);
  await expect(once()).resolves.toMatchObject({ duplicate: false });
});
