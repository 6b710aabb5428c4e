import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandSubject, encodeEnvelope } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { DeadLetters, NatsBroker, provision, topologyOf, type Consumption } from '@flotilla/messaging';
import { startTestNats, until } from '@flotilla/testing';
import { contractsByType } from '../src/contracts/fleet-contracts.ts';
import { discoverServices } from '../src/services.ts';
import { runCommand } from './fixtures/run-command.ts';

const TYPE = 'inventory.ReserveStock.v1';
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

it('fleet consumer shows who is paused and why, has them try or go on, and keeps who did that', async () => {
  const data = mkdtempSync(join(tmpdir(), 'fleet-consumer-'));
  const nats = await startTestNats();
  const natsUrlBefore = process.env['NATS_URL'];
  process.env['NATS_URL'] = nats.url;
  const services = await discoverServices();
  const contract = contractsByType(services).get(TYPE)!;
  const connect = () =>
    NatsBroker.connect({ servers: nats.url, name: 'inventory', service: 'inventory', log: quiet });
  const inventory = await connect();
  let broken = true;
  const handled = new Set<string>();
  /** Answers as the processes of a service do, with the state of a consumption that is real. */
  const answers = async (broker: NatsBroker, consumption: Consumption, name: string): Promise<void> => {
    await broker.serve('ops.inventory.consumers', { queue: name, maxInFlight: 1 }, async (message) => {
      const { action } = message.json() as { action: string };
      const paused = consumption.state().paused === undefined ? 0 : 1;
      if (action === 'probe') consumption.probeNow();
      if (action === 'resume') consumption.resume();
      return {
        headers: encodeEnvelope({
          id: newId(),
          type: message.envelope.type,
          source: 'inventory',
          time: new Date().toISOString(),
          subject: 'inventory',
          correlationId: message.envelope.correlationId,
          outcome: 'ok',
        }),
        body: JSON.stringify({
          process: name,
          consumers: [{ stream: 'CMD_inventory', consumer: 'inventory', ...consumption.state() }],
          ...(action === 'probe' && { probed: paused }),
          ...(action === 'resume' && { resumed: paused }),
        }),
      };
    });
  };
  const fleet = (...argv: string[]): Promise<string> => runCommand('consumer', ...argv, '--data', data);
  const send = async (orderId: string): Promise<void> => {
    const id = newId();
    await inventory.publish({
      id,
      subject: commandSubject(contract, orderId),
      key: orderId,
      headers: encodeEnvelope({
        id,
        type: TYPE,
        source: 'orders',
        time: new Date().toISOString(),
        subject: orderId,
        correlationId: id,
      }),
      body: JSON.stringify({ orderId, lines: [{ sku: 'mug', quantity: 1 }] }),
    });
  };
  try {
    const manifests = services.map(({ manifest }) => manifest);
    await provision(
      inventory.connection,
      topologyOf(manifests.filter(({ name }) => ['inventory', 'orders'].includes(name))),
    );
    await expect(fleet('probe', 'inventory')).rejects.toThrow(/the service inventory does not run: start it/);
    await expect(fleet('probe', 'nobody')).rejects.toMatchObject({ code: 'UNKNOWN_SERVICE' });
    const consumption = await inventory.consume(
      { stream: 'CMD_inventory', name: 'inventory' },
      {
        maxAttempts: 2,
        backoff: { initialMs: 5, maxMs: 10 },
        killSwitch: { failures: 3, windowMs: 60_000, probeInitialMs: 600_000, probeMaxMs: 600_000 },
      },
      async ({ message }) => {
        if (broken) throw new Error('the warehouse is closed');
        handled.add(message.envelope.subject);
      },
    );
    await answers(inventory, consumption, 'inventory-1');
    expect(await fleet('list')).toBe('All 1 consumers of the services that run take messages.');
    expect(await fleet('probe', 'inventory')).toBe('None of them is paused.');
    await expect(fleet('resume', 'inventory')).rejects.toThrow(/--reason/);
    await expect(fleet('probe', 'inventory', 'inventori')).rejects.toThrow(
      /has no such consumer, only inventory/,
    );

    for (const orderId of ['a', 'b', 'c']) await send(orderId);
    await until(() => consumption.state().paused !== undefined);
    expect(await fleet('list')).toMatch(
      /inventory +tory-1 +inventory +CMD_inventory +\d+ +paused for .*, 0 tries failed +in .*m.* +Error: the warehouse is closed/,
    );
    expect(await fleet('probe', 'inventory', '--reason', 'to see')).toMatch(/^1 try a message now/);
    // It waits for a message, and tries one of those that it has given back.
    await until(() => {
      const { paused } = consumption.state();
      return paused !== undefined && (paused.nextProbeAt === undefined || paused.probes === 1);
    });
    expect(JSON.parse(await fleet('list', '--json'))).toMatchObject([
      { service: 'inventory', process: 'inventory-1', paused: { errorCode: 'Error' } },
    ]);

    broken = false;
    expect(await fleet('resume', 'inventory', 'inventory', '--reason', 'it is open', '--by', 'ann')).toBe(
      '1 go on.',
    );
    await send('d');
    await until(() => handled.has('d') && consumption.state().paused === undefined);
    expect(await new DeadLetters(inventory.connection).count()).toBe(0);
    const acts = JSON.parse(await fleet('history', '--json')) as object[];
    expect(acts).toMatchObject([
      {
        action: 'resume',
        by: 'ann',
        reason: 'it is open',
        target: 'inventory/inventory',
        detail: { paused: [{ consumer: 'inventory', errorMessage: 'the warehouse is closed' }] },
      },
      { action: 'probe', reason: 'to see' },
      { action: 'probe' },
    ]);
    expect(await fleet('history', '--limit', '1')).toMatch(/ann +resume +inventory\/inventory +it is open/);
  } finally {
    if (natsUrlBefore === undefined) delete process.env['NATS_URL'];
    else process.env['NATS_URL'] = natsUrlBefore;
    await inventory.close({ drainMs: 0 });
    await nats.dispose();
    rmSync(data, { recursive: true });
  }
});
