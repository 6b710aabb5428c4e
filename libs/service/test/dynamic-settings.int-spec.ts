import { newId } from '@flotilla/kernel';
import { ConfigBucket } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { jetstreamManager } from '@nats-io/jetstream';
import { onConfigChange } from '../src/index.ts';
import { startTestService, type TestService } from '../src/testing/index.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { Add } from './fixtures/contracts.ts';

let alpha: TestService;
let bucket: ConfigBucket;
beforeEach(async () => {
  alpha = await startTestService({ module: AlphaModule, config: AlphaConfig, env: { ALPHA_LIMIT: '50' } });
  bucket = new ConfigBucket(alpha.broker.connection);
});
afterEach(() => alpha.stop());

const set = async (key: string, value: string): Promise<number> => {
  const before = await bucket.read('alpha', key);
  return bucket.set('alpha', key, value, { by: 'ada', after: before?.revision ?? 0 });
};
const add = (amount: number) => alpha.execute(new Add({ accountId: newId(), amount }));
const readiness = async (): Promise<{ status: string; details: Record<string, { message?: string }> }> =>
  (await (await fetch(`${alpha.url}/health/ready`)).json()) as Awaited<ReturnType<typeof readiness>>;

describe('a dynamic setting', () => {
  it('reaches every replica that runs, and one that starts later; unset, the environment counts', async () => {
    const configs = [alpha.get<AlphaConfig>(AlphaConfig), (await alpha.startReplica()).app.get(AlphaConfig)];
    const heard: number[] = [];
    onConfigChange(configs[1] as AlphaConfig, 'limit', (value) => heard.push(value));
    await expect(add(60)).rejects.toMatchObject({ code: 'TooMuch', data: { limit: 50 } });
    await set('limit', '70');
    await until(() => configs.every(({ limit }) => limit === 70));
    expect(await add(60)).toEqual({ total: 60 });
    const late = await alpha.startReplica();
    expect(late.app.get(AlphaConfig).limit).toBe(70);
    const { revision = 0 } = (await bucket.read('alpha', 'limit')) ?? {};
    await bucket.unset('alpha', 'limit', { by: 'ada', after: revision });
    await until(() => configs.every(({ limit }) => limit === 50));
    expect(heard).toEqual([70, 50]);
  });

  it('that is not valid is refused: the old value stays, and it is to be seen until it is mended', async () => {
    const config = alpha.get<AlphaConfig>(AlphaConfig);
    await set('limit', '70');
    await until(() => config.limit === 70);
    await set('limit', 'plenty');
    await until(async () => (await readiness()).details['settings']?.message?.includes('plenty'));
    const { status, details } = await readiness();
    expect([status, config.limit]).toEqual(['degraded', 70]);
    expect(details['settings']?.message).toMatch(/^limit: "plenty" is not valid: .* \(the largest amount\)$/);
    expect(await alpha.metrics.scrape()).toMatch(/flotilla_setting_refused\{setting="limit",.*\} 1/);
    const revision = await set('limit', '80');
    await until(() => config.limit === 80);
    await until(async () => (await readiness()).status === 'ok');
    const page = await alpha.metrics.scrape();
    expect(page).toMatch(/flotilla_setting_refused\{setting="limit",.*\} 0/);
    expect(page).toMatch(new RegExp(`flotilla_setting_revision\\{setting="limit",.*\\} ${revision}\n`));
  });

  it('keeps its last value while NATS is away, and follows what changes when it is back', async () => {
    const config = alpha.get<AlphaConfig>(AlphaConfig);
    await set('limit', '70');
    await until(() => config.limit === 70);
    await alpha.nats.stop();
    await until(async () => (await readiness()).details['nats']?.message !== undefined);
    expect(config.limit).toBe(70);
    await alpha.nats.restart();
    await until(
      () =>
        set('limit', '80').then(
          () => true,
          () => false,
        ),
      { timeoutMs: 20_000 },
    );
    await until(() => config.limit === 80, { timeoutMs: 20_000 });
  });

  it('is the environment’s where the bucket is not there, which is to be seen', async () => {
    const manager = await jetstreamManager(alpha.broker.connection);
    await manager.streams.delete('KV_CONFIG');
    const replica = await alpha.startReplica();
    expect(replica.app.get(AlphaConfig).limit).toBe(50);
    const answer = await fetch(`${await replica.app.getUrl()}/health/ready`);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toMatch(/settings cannot be read.*fleet provision/);
  });
});

it('the number of messages that are handled at a time follows its setting', async () => {
  const config = alpha.get<AlphaConfig>(AlphaConfig);
  await set('maxInFlight', '1');
  await until(() => config.maxInFlight === 1);
  const both = () =>
    Promise.allSettled(
      [1, 2].map((amount) => alpha.execute(new Add({ accountId: newId(), amount, takesMs: 300 }))),
    );
  expect(await both()).toMatchObject([
    { status: 'fulfilled' },
    { status: 'rejected', reason: { remoteCode: 'OVERLOADED' } },
  ]);
  await set('maxInFlight', '4');
  await until(() => config.maxInFlight === 4);
  expect(await both()).toMatchObject([{ status: 'fulfilled' }, { status: 'fulfilled' }]);
});
