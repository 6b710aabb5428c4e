import { newId } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import { jetstreamManager } from '@nats-io/jetstream';
import { Client } from 'pg';
import { startTestService, type TestService } from '../src/testing/index.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { Add, Added, Begin, Charge } from './fixtures/contracts.ts';

describe('what is stuck', () => {
  let alpha: TestService;
  beforeAll(async () => {
    alpha = await startTestService({
      module: AlphaModule,
      config: AlphaConfig,
      env: { STUCK_AFTER_MS: '300' },
    });
  });
  afterAll(() => alpha.stop());

  interface Health {
    readonly status: number;
    readonly problem: string | undefined;
  }
  const health = async (indicator: string): Promise<Health> => {
    const response = await fetch(`${alpha.url}/health/ready`);
    const { details } = (await response.json()) as {
      details: Record<string, { status: string; message?: string }>;
    };
    const { status, message } = details[indicator] ?? { status: 'missing' };
    return { status: response.status, problem: status === 'up' ? undefined : `${status}: ${message ?? ''}` };
  };
  const complains = (indicator: string, about: RegExp): Promise<unknown> =>
    until(async () => about.test((await health(indicator)).problem ?? ''), {
      timeoutMs: 20_000,
      describe: `${indicator} says ${String(about)}`,
    });
  const isWell = (indicator: string): Promise<unknown> =>
    until(async () => (await health(indicator)).problem === undefined, { timeoutMs: 60_000 });

  it('in the outbox, because the broker refuses it, is said, and goes out when it does not any more', async () => {
    const manager = await jetstreamManager(alpha.broker.connection);
    const { config } = await manager.streams.info('EVT_alpha');
    await manager.streams.update('EVT_alpha', { ...config, max_msg_size: 1 });
    const accountId = newId();
    await alpha.execute(new Add({ accountId, amount: 1 }));
    await complains('outbox', /^degraded: 1 message\(s\) are committed and not published, the oldest for /);
    expect((await health('outbox')).status).toBe(200);
    await manager.streams.update('EVT_alpha', { ...config, max_msg_size: -1 });
    await until(() => alpha.events(Added).some(({ payload }) => payload.accountId === accountId), {
      timeoutMs: 60_000,
    });
    await isWell('outbox');
  }, 120_000);

  it('of a saga, a timer that does not fire, is said and measured, and fires when it can', async () => {
    const tabId = `tab-${newId()}`;
    await alpha.execute(new Begin({ tabId }));
    await until(() => alpha.commands(Charge).some(({ payload }) => payload.tabId === tabId));
    const admin = new Client({ connectionString: alpha.database?.adminUrl });
    await admin.connect();
    try {
      // Somebody holds the row, and so every process passes it over.
      await admin.query('BEGIN');
      await admin.query(`UPDATE saga_instances SET due_at = now() - interval '1 minute' WHERE id = $1`, [
        tabId,
      ]);
      await admin.query('COMMIT');
      await admin.query('BEGIN');
      await admin.query('SELECT 1 FROM saga_instances WHERE id = $1 FOR UPDATE', [tabId]);
      await complains(
        'saga-timers',
        new RegExp(`^degraded: the timer of saga tab of ${tabId} has been due for 1m`),
      );
      const page = await (await fetch(`${alpha.url}/metrics`)).text();
      expect(Number(/flotilla_saga_timer_overdue_seconds\{.*\} ([\d.]+)/.exec(page)?.[1])).toBeGreaterThan(
        59,
      );
    } finally {
      await admin.query('ROLLBACK');
      await admin.end();
    }
    await isWell('saga-timers');
  }, 120_000);
});
