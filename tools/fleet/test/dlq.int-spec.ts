import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandSubject, encodeEnvelope, type Contract } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { connectNats, DeadLetters, NatsBroker, provision, topologyOf } from '@flotilla/messaging';
import { startTestNats, until } from '@flotilla/testing';
import type { NatsConnection } from '@nats-io/nats-core';
import { contractsByType } from '../src/contracts/fleet-contracts.ts';
import { OPERATOR_API_SUBJECT, OperatorApi, type OperatorApiRequest } from '../src/operate/operator-api.ts';
import { discoverServices } from '../src/services.ts';
import { runCommand } from './fixtures/run-command.ts';

const TYPE = 'inventory.ReserveStock.v1';

describe('dead letters, for operators', () => {
  let nats: Awaited<ReturnType<typeof startTestNats>>;
  let contracts: ReadonlyMap<string, Contract>;
  let connection: NatsConnection;
  let inventory: NatsBroker;
  let letters: DeadLetters;
  let broken: boolean;
  let handled: { lines: { quantity: number }[] }[];
  let data: string;
  const natsUrlBefore = process.env['NATS_URL'];

  beforeAll(async () => {
    nats = await startTestNats();
    const services = await discoverServices();
    contracts = contractsByType(services);
    connection = await connectNats({ servers: nats.url, name: 'test' });
    const manifests = services
      .map(({ manifest }) => manifest)
      .filter(({ name }) => ['inventory', 'orders'].includes(name));
    await provision(connection, topologyOf(manifests));
    letters = new DeadLetters(connection);
    data = mkdtempSync(join(tmpdir(), 'fleet-dlq-'));
    process.env['NATS_URL'] = nats.url;
    const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
    inventory = await NatsBroker.connect({
      servers: nats.url,
      name: 'inventory',
      service: 'inventory',
      log: quiet,
    });
    await inventory.consume(
      { stream: 'CMD_inventory', name: 'inventory' },
      { maxAttempts: 1 },
      async ({ message }) => {
        const payload = message.json() as (typeof handled)[number] & { orderId: string };
        if (broken) throw new Error(`warehouse of ${payload.orderId} is closed`);
        handled.push(payload);
      },
    );
  });
  afterAll(async () => {
    if (natsUrlBefore === undefined) delete process.env['NATS_URL'];
    else process.env['NATS_URL'] = natsUrlBefore;
    await inventory.close();
    await connection.close();
    await nats.dispose();
    rmSync(data, { recursive: true });
  });
  beforeEach(async () => {
    broken = true;
    handled = [];
    for await (const { sequence } of letters.each()) await letters.drop(sequence, 'of another test');
  });
  afterEach(() => {
    process.exitCode = 0;
  });

  const die = async (count: number): Promise<number[]> => {
    for (let n = 0; n < count; n++) {
      const [id, orderId] = [newId(), newId()];
      await inventory.publish({
        id,
        subject: commandSubject(contracts.get(TYPE)!, orderId),
        key: orderId,
        headers: encodeEnvelope({
          id,
          type: TYPE,
          source: 'orders',
          time: new Date().toISOString(),
          subject: orderId,
          correlationId: id,
        }),
        body: JSON.stringify({ orderId, cardToken: 'tok_secret', lines: [{ sku: 'mug', quantity: 1 }] }),
      });
    }
    await until(async () => (await letters.count()) === count);
    return (await letters.list()).map(({ sequence }) => sequence);
  };
  const fleet = (...argv: string[]): Promise<string> => runCommand('dlq', ...argv, '--data', data);
  const facts = async <T>(...argv: string[]): Promise<T> => JSON.parse(await fleet(...argv, '--json')) as T;

  it('are listed by fault and one by one, and shown with headers, attempts and body, without secrets', async () => {
    const [first] = await die(3);
    const { groups } = await facts<{ groups: { key: string; count: number }[] }>('groups');
    expect(groups).toMatchObject([{ count: 3, error: 'warehouse of <id> is closed', sample: first }]);
    expect(await fleet('groups')).toMatch(/inventory\/inventory +inventory\.ReserveStock\.v1/);
    expect(await fleet('list', '--group', groups[0]!.key)).toContain(
      `${groups[0]!.key}  Error: warehouse of`,
    );
    expect(await fleet('list', '--group', 'other')).toBe('There is none of group other.');
    const page = await fleet('show', String(first));
    expect(page).toMatch(/attempts +1\n +1 20.*Error: warehouse of/);
    expect(page).toMatch(/headers:\n( {2}.*\n)* {2}ce-type: inventory\.ReserveStock\.v1/);
    expect(page).toContain('"cardToken": "***"');
    expect(await fleet('list', '--json')).not.toContain('tok_secret');
  });

  it('are changed against their contract, kept as versions, and sent back', async () => {
    const [first] = await die(1);
    const no = String(first);
    await expect(fleet('edit', no, '--set', 'lines[0].quantity=-1')).rejects.toThrow(
      /does not fit inventory\.ReserveStock\.v1; --force/,
    );
    await expect(fleet('edit', no)).rejects.toThrow(/--set path=value/);
    const file = join(data, 'body.json');
    writeFileSync(file, '{');
    await expect(fleet('edit', no, '--file', file)).rejects.toThrow(/is no JSON/);
    await expect(fleet('edit', no, '--file', file, '--set', 'a=1')).rejects.toThrow(/not both/);
    expect(await letters.list()).toHaveLength(1);
    const changed = await facts<{ sequence: number; version: number }>(
      ...['edit', no, '--set', 'lines[0].quantity=4'],
    );
    expect(changed).toMatchObject({ version: 2, editedFrom: first, body: { lines: [{ quantity: 4 }] } });
    const acts = await facts<object[]>('history', '--action', 'edit', '--limit', '1');
    expect(acts).toMatchObject([
      {
        via: 'cli',
        detail: {
          before: { lines: [{ quantity: 1 }] },
          after: { lines: [{ quantity: 4 }], cardToken: '***' },
        },
      },
    ]);
    broken = false;
    await fleet('replay', String(changed.sequence), '--reason', 'mended');
    await until(() => handled.length === 1);
    expect(handled).toMatchObject([{ lines: [{ quantity: 4 }] }]);
    expect(await fleet('history', '--action', 'replay', '--limit', '1')).toMatch(/replay .* mended/);
  });

  it('are rehearsed by the service that could not handle them', async () => {
    const [first] = await die(1);
    await expect(fleet('dry-run', String(first))).rejects.toThrow(/the service inventory does not run/);
    let asked: unknown;
    const serving = await inventory.serve(
      'ops.inventory.dry-run',
      { queue: 'inventory', maxInFlight: 1 },
      async (message) => {
        asked = message.json();
        const { correlationId } = message.envelope;
        return {
          headers: encodeEnvelope({
            id: newId(),
            type: message.envelope.type,
            source: 'inventory',
            time: new Date().toISOString(),
            subject: 'x',
            correlationId,
            outcome: 'ok',
          }),
          body: JSON.stringify({
            possible: true,
            handledBefore: false,
            outcome: 'ok',
            reply: { reserved: true },
            tables: [
              {
                table: 'stock',
                inserted: 0,
                updated: 1,
                deleted: 1,
                rows: [
                  { before: { sku: 'cup', on_hand: 0, token: 'c' }, after: null },
                  {
                    before: { sku: 'mug', on_hand: 5, token: 'a' },
                    after: { sku: 'mug', on_hand: 4, token: 'b' },
                  },
                ],
              },
            ],
            messages: [{ subject: 'evt.x', type: 'inventory.StockReserved.v1', key: 'x', body: { n: 1 } }],
            afterCommit: 1,
          }),
        };
      },
    );
    const page = await fleet('dry-run', String(first));
    await serving.stop();
    expect(asked).toMatchObject({ consumer: 'inventory', headers: { 'ce-type': TYPE } });
    expect(page).toMatchInlineSnapshot(`
"It would be handled. Nothing was changed or sent.
reply    {"reserved":true}
table    stock: 0 inserted, 1 updated, 1 deleted
         - {"sku":"cup","on_hand":0,"token":"***"}
         ~ on_hand 5 -> 4, token "***" -> "***"
sends    inventory.StockReserved.v1 to evt.x: {"n":1}
after    1 action(s) after the commit, not carried out"
`);
  });

  it('of one fault are replayed, and a replay that was stopped is gone on with', async () => {
    await die(12);
    const { groups } = await facts<{ groups: { key: string }[] }>('groups');
    const key = groups[0]!.key;
    await expect(fleet('replay')).rejects.toThrow(/--group, or --all/);
    await expect(fleet('replay', '1', '--all')).rejects.toThrow(/not both/);
    const stopped = await fleet(...['replay', '--group', key, '--limit', '5', '--per-second', '1000']);
    expect(stopped).toMatch(/^5 sent back, that is the limit\. Go on with: fleet dlq replay --resume /);
    expect(process.exitCode).toBe(1);
    process.exitCode = 0;
    // They die again, and are none of its business any more.
    await until(async () => (await letters.count()) === 12);
    const job = stopped.slice(stopped.lastIndexOf(' ') + 1);
    expect(await fleet('replay', '--resume', job, '--per-second', '1000')).toMatch(/^7 sent back; /);
    await expect(fleet('replay', '--resume', job)).rejects.toMatchObject({ code: 'NO_REPLAY_TO_RESUME' });
    await until(async () => (await letters.count()) === 12);
    broken = false;
    expect(await fleet('replay', '--all', '--per-second', '1000')).toMatch(/^12 sent back; /);
    await until(() => handled.length === 12);
    expect(await facts<object[]>('history', '--action', 'replay-begun', '--about', key)).toHaveLength(1);
  });

  it('are dropped with a reason, one or a group, and what they were stays in the record', async () => {
    const [first] = await die(3);
    await expect(fleet('drop', String(first))).rejects.toThrow(/--reason/);
    expect(await fleet('drop', String(first), '--reason', 'a test order')).toBe('1 dropped.');
    const [act] = await facts<{ reason: string; detail: object }[]>('history', '--action', 'drop');
    expect(act).toMatchObject({ reason: 'a test order', detail: { before: { body: { cardToken: '***' } } } });
    const { groups } = await facts<{ groups: { key: string }[] }>('groups');
    expect(await fleet('drop', '--group', groups[0]!.key, '--reason', 'all of them')).toBe('2 dropped.');
    expect(await letters.count()).toBe(0);
  });

  describe('over the API', () => {
    let api: OperatorApi;
    beforeAll(async () => {
      api = new OperatorApi(connection, async () => contracts);
      await api.start();
    });
    afterAll(() => api.stop());
    const ask = async (request: OperatorApiRequest | object): Promise<[string | undefined, unknown]> => {
      const answer = await connection.request(OPERATOR_API_SUBJECT, JSON.stringify(request), {
        timeout: 10_000,
      });
      return [answer.headers?.get('ce-outcome'), answer.json()];
    };

    it('are the same acts, under the name of who asks', async () => {
      const [first] = await die(4);
      const by = 'ann';
      const [, { groups }] = (await ask({ act: 'groups', by })) as [string, { groups: { key: string }[] }];
      expect(groups).toMatchObject([{ count: 4 }]);
      expect(await ask({ act: 'show', by, letter: first! })).toMatchObject([
        'ok',
        { sequence: first, body: { cardToken: '***' } },
      ]);
      const [, edited] = (await ask({
        act: 'edit',
        by,
        letter: first!,
        changes: [{ path: ['lines', 0, 'quantity'], value: 9 }],
      })) as [string, { sequence: number }];
      broken = false;
      expect(await ask({ act: 'replay', by, letter: edited.sequence })).toMatchObject([
        'ok',
        { stream: 'CMD_inventory' },
      ]);
      await until(() => handled.some(({ lines }) => lines[0]?.quantity === 9));
      const { key: group } = groups[0]!;
      expect(await ask({ act: 'replay-many', by, group, limit: 1 })).toMatchObject([
        'ok',
        { replayed: 1, stopped: 'limit' },
      ]);
      expect(await ask({ act: 'drop-many', by, group, reason: 'done' })).toMatchObject([
        'ok',
        { dropped: 2 },
      ]);
      const [, acts] = (await ask({ act: 'history', by, who: 'ann' })) as [string, { action: string }[]];
      expect(acts.map(({ action }) => action)).toEqual([
        ...['drop', 'drop', 'replay-ended', 'replay', 'replay-begun', 'replay', 'edit'],
      ]);
    });

    it.each([
      [{ act: 'list' }, /by: /],
      [{ act: 'drop', by: 'ann', letter: 1 }, /reason: /],
      [{ act: 'explode', by: 'ann' }, /act: /],
      [{ act: 'replay-many', by: 'ann' }, /say which/],
      [{ act: 'edit', by: 'ann', letter: 1 }, /either body or changes/],
    ])('are refused as %j with what is missing', async (request, says) => {
      const [outcome, body] = await ask(request);
      expect(outcome).toBe('failed');
      expect(body).toMatchObject({ code: 'INVALID_OPERATOR_REQUEST' });
      expect((body as { message: string }).message).toMatch(says);
    });

    it('that are gone are said to be', async () => {
      expect(await ask({ act: 'replay', by: 'ann', letter: 999_999 })).toMatchObject([
        'failed',
        { code: 'DEAD_LETTER_NOT_FOUND' },
      ]);
    });
  });
});
