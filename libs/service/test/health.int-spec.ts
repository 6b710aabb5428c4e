import type { RunningService } from '../src/index.ts';
import { startTestService, type TestService } from '../src/testing/index.ts';
import { newId } from '@flotilla/kernel';
import { startTestPostgres, until } from '@flotilla/testing';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { Add, Added } from './fixtures/contracts.ts';

let postgres: Awaited<ReturnType<typeof startTestPostgres>>;
let alpha: TestService;
beforeAll(async () => {
  postgres = await startTestPostgres();
  alpha = await startTestService({ module: AlphaModule, config: AlphaConfig, postgresUrl: postgres.url });
});
afterAll(async () => {
  await alpha.stop();
  await postgres.dispose();
});

interface Probe {
  readonly status: number;
  readonly down: string[];
}
const probe = async (path: 'live' | 'ready', url = alpha.url): Promise<Probe> => {
  const response = await fetch(`${url}/health/${path}`, { headers: { connection: 'close' } });
  const { error = {} } = (await response.json()) as { error?: object };
  return { status: response.status, down: Object.keys(error) };
};
const becomesReady = (): Promise<unknown> =>
  until(async () => (await probe('ready')).status === 200, {
    timeoutMs: 20_000,
    describe: 'it is ready again',
  });
const becomesUnready = (what: string): Promise<unknown> =>
  until(async () => (await probe('ready')).down.includes(what), {
    timeoutMs: 20_000,
    describe: `${what} is down`,
  });

describe('a service', () => {
  it('is live and ready, and shows its numbers', async () => {
    await becomesReady();
    expect(await probe('live')).toEqual({ status: 200, down: [] });
    await alpha.execute(new Add({ accountId: 'a', amount: 1 }));
    const page = await (await fetch(`${alpha.url}/metrics`)).text();
    expect(page).toMatch(/flotilla_outbox_unpublished\{service="alpha"\} \d/);
    expect(page).toMatch(/flotilla_broker_up\{part="jetstream",service="alpha"\} 1/);
    expect(page).toMatch(
      /flotilla_handler_duration_seconds_count\{.*type="alpha.Add.v1",handler="requests",outcome="ok"\} 1/,
    );
    expect(page).not.toMatch(/flotilla_scrape_errors_total\{/);
  });

  it('has on every route what it added to the HTTP server', async () => {
    const routes = ['/health/live', '/metrics', '/nowhere'];
    const answers = await Promise.all(routes.map((route) => fetch(`${alpha.url}${route}`)));
    expect(answers.map(({ headers }) => headers.get('x-alpha'))).toEqual(['yes', 'yes', 'yes']);
  });

  it('is not ready while it drains, answers what it has begun, and stays live', async () => {
    const replica: RunningService = await alpha.startReplica();
    const url = await replica.app.getUrl();
    const accountId = newId();
    // Both replicas answer requests: enough of them that each has some.
    const slow = Array.from({ length: 8 }, (_, index) =>
      alpha.execute(new Add({ accountId: `${accountId}-${index}`, amount: 1, takesMs: 400 })),
    );
    await until(
      async () =>
        (
          await alpha.sql(
            `SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep($1)%' AND state = 'active'`,
          )
        ).length > 0,
    );
    const stopping = replica.stop();
    expect(await probe('ready', url)).toMatchObject({
      status: 503,
      down: expect.arrayContaining(['accepting']) as string[],
    });
    expect((await probe('live', url)).status).toBe(200);
    expect(await Promise.all(slow)).toEqual(slow.map(() => ({ total: 1 })));
    await stopping;
    await expect(fetch(`${url}/health/live`)).rejects.toThrow();
    expect((await probe('ready')).status).toBe(200);
  });

  it('is not ready without its database, says so, stays live, and recovers', async () => {
    await postgres.server.stop();
    await becomesUnready('database');
    expect((await probe('live')).status).toBe(200);
    await postgres.server.restart();
    await becomesReady();
    await alpha.execute(new Add({ accountId: newId(), amount: 1 }));
  });

  it('is not ready without NATS, says so, stays live, and recovers', async () => {
    await alpha.nats.stop();
    await becomesUnready('nats');
    expect((await probe('live')).status).toBe(200);
    await alpha.nats.restart();
    await becomesReady();
    const accountId = newId();
    await until(() => alpha.execute(new Add({ accountId, amount: 1 })), { describe: 'it answers again' });
    await until(() => alpha.events(Added).some(({ payload }) => payload.accountId === accountId));
  });
});
