import { until } from '@flotilla/testing';
import { Add, Pay } from './fixtures/contracts.ts';
import { AlphaProcess } from './support/alpha-process.ts';
import { AlphaStack } from './support/alpha-stack.ts';

describe('a service in a process of its own', () => {
  it('finishes on SIGTERM what it has begun, gives the rest back, publishes everything and exits 0', async () => {
    await using stack = await AlphaStack.start();
    const first = stack.run({ MAX_IN_FLIGHT: '4', DRAIN_MS: '8000' });
    await first.ready();
    const accounts = Array.from({ length: 24 }, (_, index) => `account-${index}`);
    for (const accountId of accounts) await stack.send(new Add({ accountId, amount: 1, takesMs: 200 }));
    const done = () =>
      stack.sql<{ account_id: string; total: number }>('SELECT account_id, total FROM accounts');
    await until(async () => (await done()).length > 0, { describe: 'the first are committed' });
    first.kill('SIGTERM');
    expect(await first.end()).toBe(0);
    expect(first.messages('info')).toEqual(
      expect.arrayContaining(['The service stops on SIGTERM', 'The service has stopped']),
    );

    const finished = (await done()).length;
    expect(finished).toBeLessThan(accounts.length);
    expect(await stack.sql('SELECT id FROM outbox WHERE published_at IS NULL')).toEqual([]);
    expect(await stack.sql('SELECT id FROM outbox')).toHaveLength(finished);

    const second = stack.run();
    await second.ready();
    await until(async () => (await done()).length === accounts.length, {
      describe: 'the next process does the rest',
    });
    expect((await done()).every(({ total }) => total === 1)).toBe(true);
  }, 90_000);

  it('says of a request that fails what, why and in which trace', async () => {
    await using stack = await AlphaStack.start();
    const child = stack.run();
    await child.ready();
    const reply = await stack.request(new Add({ accountId: 'a', amount: 13 }));
    expect(reply.envelope.outcome).toBe('failed');
    expect(reply.json()).toEqual({ code: 'Error', message: '13 never works', retry: 'later' });
    const [line] = await until(() => child.lines('error').length > 0 && child.lines('error'));
    expect(line).toMatchObject({
      msg: 'alpha.Add.v1 failed: 13 never works',
      err: { message: '13 never works', stack: expect.stringContaining('handlers.ts') as string },
      service: 'alpha',
      context: 'RequestServer',
      correlationId: reply.envelope.correlationId,
      messageId: reply.envelope.causationId,
      trace_id: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
    });
  }, 60_000);

  it('stops in time though a handler never ends, and its message goes to another process', async () => {
    await using stack = await AlphaStack.start();
    const stuck = stack.run({ ALPHA_OUTSIDE_HANGS: '1', DRAIN_MS: '300' });
    await stuck.ready();
    await stack.send(new Pay({ accountId: 'a' }));
    const steps = () =>
      stack.sql<{ step: string; runs: number }>('SELECT step, runs FROM steps ORDER BY step');
    await until(async () => (await steps()).length === 1, { describe: 'its first step is done' });
    stuck.kill('SIGTERM');
    expect(await stuck.end()).toBe(0);
    await stack.run().ready();
    await until(async () => (await steps()).length === 2);
    expect(await steps()).toEqual([
      { step: 'asked', runs: 2 },
      { step: 'paid', runs: 1 },
    ]);
  }, 90_000);

  it('that is killed between two steps of a handler is followed by one that does them again', async () => {
    await using stack = await AlphaStack.start();
    const killed = stack.run({ ALPHA_OUTSIDE_HANGS: '1' });
    await killed.ready();
    await stack.send(new Pay({ accountId: 'a' }));
    const steps = () =>
      stack.sql<{ step: string; runs: number }>('SELECT step, runs FROM steps ORDER BY step');
    await until(async () => (await steps()).length === 1, { describe: 'its first step is done' });
    killed.kill('SIGKILL');
    expect(await killed.end()).toBe('SIGKILL');
    await stack.run().ready();
    await until(async () => (await steps()).length === 2);
    expect(await steps()).toEqual([
      { step: 'asked', runs: 2 },
      { step: 'paid', runs: 1 },
    ]);
    expect(await stack.sql(`SELECT reply FROM inbox WHERE consumer = 'commands'`)).toEqual([
      { reply: { outcome: 'ok', body: { steps: ['asked', 'paid'] } } },
    ]);
  }, 90_000);
});

describe('a service that cannot start says why, and what to do', () => {
  it('without its streams: run `fleet provision`', async () => {
    await using stack = await AlphaStack.start({ provisioned: false });
    const child = stack.run();
    expect(await child.end()).toBe(1);
    expect(child.messages('fatal')).toEqual([
      expect.stringMatching(/Not on the server, and alpha needs it: .*CMD_alpha.*`fleet provision`/),
    ]);
  });

  it('without its tables: run `fleet migrate`', async () => {
    await using stack = await AlphaStack.start({ migrated: false });
    const child = stack.run();
    expect(await child.end()).toBe(1);
    expect(child.messages('fatal')).toEqual([
      expect.stringMatching(/lacks \d+ migration\(s\): .*CreateAlpha1700000000001.*`fleet migrate`/),
    ]);
  });

  it('without NATS, after it has tried for as long as it may', async () => {
    await using stack = await AlphaStack.start();
    const servers = 'nats://127.0.0.1:1';
    const child = stack.run({ NATS_URL: servers, CONNECT_TIMEOUT_MS: '600' });
    expect(await child.end()).toBe(1);
    expect(child.messages('fatal')).toEqual([expect.stringContaining(`Connecting to NATS at ${servers}`)]);
  });

  it('without Postgres, and shows no password', async () => {
    const child = new AlphaProcess({
      NATS_URL: 'nats://127.0.0.1:1',
      DATABASE_URL: 'postgres://alpha:hush-hush@127.0.0.1:1/alpha',
      PORT: '0',
      CONNECT_TIMEOUT_MS: '600',
    });
    expect(await child.end()).toBe(1);
    expect(child.messages('fatal')).toEqual([
      expect.stringMatching(
        /The database of service "alpha" at 127\.0\.0\.1:1\/alpha cannot be used: .*ECONNREFUSED/,
      ),
    ]);
    expect(child.output).not.toContain('hush-hush');
  });

  it('with a wrong configuration: everything that is wrong, no secret, and exit code 78', async () => {
    const child = new AlphaProcess({ ALPHA_LIMIT: 'many', ALPHA_API_KEY: 'hush-hush', PORT: 'x' });
    expect(await child.end()).toBe(78);
    expect(child.messages('fatal')).toEqual([
      expect.stringMatching(
        /- NATS_URL is not set.*\n- PORT: "x".*\n- ALPHA_LIMIT: "many".*\n- ALPHA_API_KEY: the value is not valid: must begin with key-/,
      ),
    ]);
    expect(child.output).not.toContain('hush-hush');
  });

  it('without a database of its own: exit code 78', async () => {
    const child = new AlphaProcess({ NATS_URL: 'nats://127.0.0.1:1', PORT: '0' });
    expect(await child.end()).toBe(78);
    expect(child.messages('fatal')).toEqual([expect.stringContaining('DATABASE_URL is not set')]);
  });
});
