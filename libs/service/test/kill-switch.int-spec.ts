import { encodeEnvelope } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { DeadLetters } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { consumersSubject, type ConsumersAnswer } from '../src/index.ts';
import { startTestService, type TestService } from '../src/testing/index.ts';
import { AlphaConfig } from './fixtures/alpha/alpha.config.ts';
import { AlphaModule } from './fixtures/alpha/alpha.module.ts';
import { outsideSystem } from './fixtures/alpha/handlers.ts';
import { Add, Pay } from './fixtures/contracts.ts';

describe('a service whose handler fails on everything', () => {
  let alpha: TestService;
  beforeAll(async () => {
    alpha = await startTestService({
      module: AlphaModule,
      config: AlphaConfig,
      env: {
        MAX_ATTEMPTS: '3',
        KILL_SWITCH_FAILURES: '4',
        // Longer than the test: it is told to try.
        KILL_SWITCH_PROBE_INITIAL_MS: '2000',
        KILL_SWITCH_PROBE_MAX_MS: '600000',
      },
    });
  });
  afterAll(() => alpha.stop());

  const ask = async (action: 'list' | 'probe' | 'resume'): Promise<ConsumersAnswer> => {
    const id = newId();
    const reply = await alpha.broker.request(
      {
        id,
        subject: consumersSubject('alpha'),
        key: 'alpha',
        headers: encodeEnvelope({
          id,
          type: `ops.consumers.${action}`,
          source: 'test',
          time: new Date().toISOString(),
          subject: 'alpha',
          correlationId: id,
        }),
        body: JSON.stringify({ action }),
      },
      { timeoutMs: 5_000 },
    );
    expect(reply.envelope.outcome).toBe('ok');
    return reply.json() as ConsumersAnswer;
  };
  const health = async (): Promise<{ status: number; body: string }> => {
    const response = await fetch(`${alpha.url}/health/ready`);
    return { status: response.status, body: await response.text() };
  };

  it('pauses that consumer, stays ready and says so, tries when told to, and handles all of it in the end', async () => {
    let broken = true;
    outsideSystem.call = async () => {
      if (broken) throw new Error('connection refused by the provider');
    };
    const payments = Array.from({ length: 8 }, (_, n) => alpha.send(new Pay({ accountId: `account-${n}` })));
    await until(async () => (await ask('list')).consumers.some(({ paused }) => paused !== undefined));
    await until(async () => (await health()).body.includes('its handler fails on everything'));
    expect(await health()).toMatchObject({
      status: 200,
      body: expect.stringContaining('"degraded"') as string,
    });
    const page = await (await fetch(`${alpha.url}/metrics`)).text();
    expect(page).toMatch(/flotilla_consumer_paused\{consumer="alpha",service="alpha"\} 1/);
    expect(page).toMatch(/flotilla_consumer_pauses_total\{consumer="alpha",code="Error",service="alpha"\} 1/);
    // Requests are not consumed: they are answered all the same.
    await alpha.execute(new Add({ accountId: 'a', amount: 1 }));
    broken = false;
    await until(async () => {
      await ask('probe');
      return (await ask('list')).consumers.every(({ paused }) => paused === undefined);
    });
    for (const payment of payments) {
      await expect(payment).resolves.toEqual({ outcome: 'ok', reply: { steps: ['asked', 'paid'] } });
    }
    expect(await new DeadLetters(alpha.broker.connection).count('alpha')).toBe(0);
    await until(async () => !(await health()).body.includes('its handler fails on everything'));
  });

  it('goes on when it is told to, and gives up on the messages that fail by themselves', async () => {
    outsideSystem.call = async () => {
      throw new Error('no such account');
    };
    const payments = Array.from({ length: 4 }, (_, n) => alpha.send(new Pay({ accountId: `unknown-${n}` })));
    await until(async () => (await ask('list')).consumers.some(({ paused }) => paused !== undefined));
    expect(await ask('resume')).toMatchObject({ resumed: 1 });
    expect(await Promise.all(payments)).toMatchObject(payments.map(() => ({ outcome: 'failed' })));
    expect((await ask('list')).consumers.every(({ paused }) => paused === undefined)).toBe(true);
    expect(await ask('resume')).toMatchObject({ resumed: 0 });
    expect(await new DeadLetters(alpha.broker.connection).count('alpha')).toBe(4);
  });
});
