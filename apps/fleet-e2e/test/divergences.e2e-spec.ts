import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from '@flotilla/testing';
import { Client } from 'pg';
import { Api } from './support/api.ts';
import { RunningFleet, type CommandResult } from './support/running-fleet.ts';

interface WatchLine {
  readonly event: 'diverges' | 'gone' | 'round';
  readonly kind?: string;
  readonly aggregate?: string;
  readonly what?: string;
  readonly advice?: string;
}

const cli = fileURLToPath(new URL('../../../tools/fleet/src/main.ts', import.meta.url));

let fleet: RunningFleet;
let databases: Record<string, string>;
let orderId: string;

beforeAll(async () => {
  fleet = await RunningFleet.start({ SHIPPING_DISPATCH_DELAY_MS: '50', SHIPPING_DELIVERY_DELAY_MS: '50' });
  const state = JSON.parse(await readFile(join(fleet.dataDir, 'state.json'), 'utf8')) as {
    databases: Record<string, string>;
  };
  databases = state.databases;
  const api = await Api.login(fleet.apiUrl);
  await api.stock('E2E-DIVERGE', 10);
  const placed = await until(
    async () => {
      const answer = await api.place('E2E-DIVERGE', 1);
      return answer.status === 202 ? answer : undefined;
    },
    { timeoutMs: 30_000, describe: 'the product is known' },
  );
  orderId = String(placed.body['orderId']);
  await api.becomes(orderId, 'completed');
}, 180_000);
afterAll(() => fleet[Symbol.asyncDispose]());

async function sql<R>(service: string, text: string, parameters: readonly unknown[] = []): Promise<R[]> {
  const client = new Client({ connectionString: databases[service] });
  await client.connect();
  try {
    return (await client.query(text, [...parameters])).rows as R[];
  } finally {
    await client.end();
  }
}

const data = (): string[] => ['--data', fleet.dataDir];
const watchOptions = ['verify', '--watch', '--interval', '300ms', '--grace', '1s', '--json'];

/** What a watch of some rounds tells, and its exit code. */
async function watch(): Promise<{ code: number; diverging: WatchLine[] }> {
  const { code, stdout, stderr } = await fleet.run(...watchOptions, '--rounds', '8', ...data());
  if (stdout === '') throw new Error(stderr);
  return { code, diverging: linesOf(stdout).filter(({ event }) => event === 'diverges') };
}

function linesOf(text: string): WatchLine[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as WatchLine);
}

const repair = (...options: string[]): Promise<CommandResult> =>
  fleet.run('repair', '--grace', '500ms', ...options, ...data());

/** Takes away what one message has done. */
async function forget(service: string, inbox: string, origin: string, event: string): Promise<void> {
  const [message] = await sql<{ id: string }>(
    origin,
    `SELECT headers->>'ce-id' AS id FROM outbox WHERE key = $1 AND subject LIKE $2`,
    [orderId, `%.${event}.%`],
  );
  const rows = await sql(
    service,
    'DELETE FROM inbox WHERE consumer = $1 AND message_id = $2 RETURNING message_id',
    [inbox, message?.id],
  );
  if (rows.length !== 1) throw new Error(`${service} did not know ${event}`);
}

const mails = (): Promise<{ fact: string }[]> =>
  sql('notifications', 'SELECT fact FROM mailbox WHERE order_id = $1 ORDER BY fact', [orderId]);

describe('a fleet whose parts say the same', () => {
  it('is told to be so, and needs no repair', async () => {
    expect(await watch()).toEqual({ code: 0, diverging: [] });
    expect(await repair('--all')).toMatchObject({ code: 0, stdout: 'Nothing diverges.\n' });
  });
});

describe('what has come apart', () => {
  it('is seen, named, repaired by its owners, and gone; once more there is nothing to do', async () => {
    await sql(
      'orders',
      `UPDATE outbox SET sequence = 1000000 WHERE key = $1 AND subject LIKE '%.OrderPlaced.%'`,
      [orderId],
    );
    await forget('notifications', 'customer-messages', 'orders', 'OrderShipped');
    await sql('notifications', `DELETE FROM mailbox WHERE order_id = $1 AND fact = 'shipped'`, [orderId]);
    await forget('payments', 'commands', 'orders', 'CapturePayment');
    await sql('tracking', `UPDATE order_views SET status = 'shipped', version = 3 WHERE order_id = $1`, [
      orderId,
    ]);

    const { code, diverging } = await watch();
    expect(code).toBe(1);
    expect(
      diverging.map(({ kind, aggregate, advice }) => ({ kind, aggregate, advice })).sort(byKind),
    ).toEqual(
      ['lost', 'unhandled', 'unhandled', 'view'].map((kind) => ({
        kind,
        aggregate: orderId,
        advice: `fleet repair --aggregate ${orderId}`,
      })),
    );

    const plan = await repair('--aggregate', orderId, '--dry-run');
    expect(plan.code).toBe(1);
    for (const step of [
      'orders publishes it again under its id',
      'orders sends it again, for notifications-customer-messages alone',
      'orders sends it again, for payments alone',
      'tracking writes the rows again as the events say',
    ])
      expect(plan.stdout).toContain(step);
    const unasked = await repair('--all');
    expect(unasked.code).not.toBe(0);
    expect(unasked.stderr).toMatch(/FLEET_USAGE: Nobody can be asked .* add --yes/);
    expect(await mails()).toHaveLength(3);

    const repaired = await repair('--all', '--yes');
    expect(repaired).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('4 done, 0 left.') as unknown,
    });
    await until(async () => (await mails()).length === 4, { describe: 'the customer is told again' });
    expect(await watch()).toEqual({ code: 0, diverging: [] });
    const captured = await sql(
      'payments',
      `SELECT FROM sandbox_provider.operations WHERE key LIKE $1 AND outcome = 'captured'`,
      [`${orderId}:%`],
    );
    expect(captured).toHaveLength(1);

    expect(await repair('--all', '--yes')).toMatchObject({ code: 0, stdout: 'Nothing diverges.\n' });
    const history = await repair('--history', '--aggregate', orderId, '--json');
    const past = JSON.parse(history.stdout) as { service: string; action: string; outcome: string }[];
    expect(
      past
        .filter(({ outcome }) => outcome === 'repaired')
        .map(({ service, action }) => `${service}: ${action}`)
        .sort(),
    ).toEqual([
      'orders: deliver again',
      'orders: deliver again',
      'orders: publish again',
      'tracking: rebuild view',
    ]);
  });

  it('and cannot be repaired, is said with the reason', async () => {
    await sql('tracking', `INSERT INTO payment_entries VALUES ($1, 'refunded:ghost', 'refunded', 5, 'GBP')`, [
      orderId,
    ]);
    const { code, stdout } = await repair('--aggregate', orderId, '--yes');
    expect(code).toBe(1);
    expect(stdout).toMatch(/view +.*\n +-> cannot be repaired: no event tells of the row .*refunded:ghost/);
    await sql('tracking', `DELETE FROM payment_entries WHERE entry = 'refunded:ghost'`);
  });

  it('is followed until it is gone by a watch that runs on, and ends with Ctrl-C', async () => {
    const watching = spawn(
      process.execPath,
      ['--conditions=@flotilla/source', cli, ...watchOptions, ...data()],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    let stdout = '';
    watching.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    const told = (event: string): Promise<unknown> =>
      until(() => linesOf(stdout).some((line) => line.event === event && line.aggregate === orderId), {
        timeoutMs: 30_000,
        describe: `the watch tells: ${event}`,
      });
    try {
      await sql('tracking', 'DELETE FROM timeline_entries WHERE order_id = $1 AND position = 2', [orderId]);
      await told('diverges');
      expect((await repair('--aggregate', orderId, '--yes')).code).toBe(0);
      await told('gone');
    } finally {
      const ended = once(watching, 'exit');
      watching.kill('SIGINT');
      expect(await ended).toEqual([0, null]);
    }
  });
});

function byKind(
  a: { readonly kind?: string | undefined },
  b: { readonly kind?: string | undefined },
): number {
  return (a.kind ?? '') < (b.kind ?? '') ? -1 : 1;
}
