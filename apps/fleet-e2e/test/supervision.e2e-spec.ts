import { join } from 'node:path';
import { readFileSync } from 'node:fs';
import { until } from '@flotilla/testing';
import { RunningFleet } from './support/running-fleet.ts';

// What `fleet up` does for the services that it started, and for whoever operates them.

let fleet: RunningFleet;

beforeAll(async () => {
  fleet = await RunningFleet.start({}, ['--only', 'catalog,inventory', '--hung-after', '3s']);
});
afterAll(() => fleet[Symbol.asyncDispose]());

it('ends a service that hangs and starts it again, and says so; the others are left alone', async () => {
  const of = async (name: string) => {
    const { instances } = await fleet.status();
    return instances.find((each) => each.name === name);
  };
  const before = await of('catalog');
  process.kill(before?.pid ?? 0, 'SIGSTOP');
  await until(
    async () => {
      const now = await of('catalog');
      return now?.ready === true && now.pid !== before?.pid;
    },
    { timeoutMs: 60_000, intervalMs: 250, describe: 'catalog runs again' },
  );
  expect(await of('catalog')).toMatchObject({ restarts: 1, hangs: 1 });
  expect(await of('inventory')).toMatchObject({ ready: true, restarts: 0, hangs: 0 });
  const { stdout } = await fleet.run('status', '--data', fleet.dataDir);
  expect(stdout).toMatch(/catalog .* 1 \(1 hung\) /);
  expect(fleet.output).toMatch(/catalog hangs: it has not answered \/health\/live for 3 s, so it is killed/);
  expect(fleet.output).toMatch(/catalog ended \(SIGKILL\) and is started again at once/);
});

it("carries out operators' acts over HTTP for whoever can read its data directory, as the announcement says", async () => {
  const [, file = '', url = '', body = ''] =
    /Dead letters: curl -H @(\S+) (\S+) -d '(.*)'/.exec(fleet.output) ?? [];
  expect(file).toBe(join(fleet.dataDir, 'operator-header.txt'));
  const [name = '', value = ''] = readFileSync(file, 'utf8').trim().split(': ');
  const answer = await fetch(url, { method: 'POST', headers: { [name]: value }, body });
  expect(answer.status).toBe(200);
  expect(await answer.json()).toMatchObject({ groups: [], letters: 0 });
  const stranger = await fetch(url, { method: 'POST', body });
  expect(stranger.status).toBe(401);
  // It is recorded, so its user may do so.
  const drop = JSON.stringify({ act: 'history', by: 'ann' });
  expect((await fetch(url, { method: 'POST', headers: { [name]: value }, body: drop })).status).toBe(200);
});

it('refuses a bound that would kill whoever is only busy', async () => {
  const { code, stderr } = await fleet.run('up', '--data', `${fleet.dataDir}-other`, '--hung-after', '100ms');
  expect([code, stderr]).toEqual([
    2,
    expect.stringContaining('--hung-after is 0s, for never, or at least 1s'),
  ]);
});
