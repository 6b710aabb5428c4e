import { jetstreamManager } from '@nats-io/jetstream';
import { startTestNats, until, type TestServer } from '@flotilla/testing';
import type { EmbeddedNats } from '@flotilla/embedded';
import {
  ConfigBucket,
  configSubject,
  connectNats,
  inboxPrefixOf,
  AuditTrail,
  DeadLetters,
  operatorPermissions,
  permissionsOf,
  provision,
  topologyOf,
  verifyTopology,
  type NatsBroker,
} from '../src/index.ts';
import { TRIAL_STREAM, trialSubject } from '../src/topology.ts';
import {
  control as controlManifest,
  conformanceTopology,
  controlLog,
  controlScreen,
  launch,
  launched,
  launchRequest,
  launchRpc,
  okReply,
  pad as padManifest,
  padCommands,
} from '../src/testing/conformance-messages.ts';
import { quickBroker } from './nats-harness.ts';

const fleet = [padManifest, controlManifest];

describe('the permissions of a service', () => {
  let nats: TestServer<EmbeddedNats>;
  let pad: NatsBroker;
  let control: NatsBroker;

  beforeAll(async () => {
    nats = await startTestNats({
      users: [
        { user: 'admin', password: 'admin' },
        { user: 'operator', password: 'operator', permissions: operatorPermissions('operator') },
        ...fleet.map((manifest) => ({
          user: manifest.name,
          password: manifest.name,
          permissions: permissionsOf(manifest, fleet),
        })),
      ],
    });
    const admin = await connectNats({
      servers: nats.url,
      name: 'admin',
      credentials: { user: 'admin', password: 'admin' },
    });
    await provision(admin, conformanceTopology());
    await admin.close();
    const connect = (service: string): Promise<NatsBroker> =>
      quickBroker(nats.url, { service, credentials: { user: service, password: service } });
    [pad, control] = await Promise.all([connect('pad'), connect('control')]);
  });
  afterAll(async () => {
    await Promise.all([pad.close(), control.close()]);
    await nats.dispose();
  });

  it('let it write down which message it tries alone, in whatever process', async () => {
    await control.publish(launch('vega'));
    let begun = 0;
    for (let ended = 1; ended <= 2; ended++) {
      const consumption = await pad.consume(padCommands, {}, () => {
        begun++;
        return new Promise(() => undefined);
      });
      await until(() => begun === ended);
      await consumption.stop({ drainMs: 0 });
    }
    const trials = new Map<number, string>();
    const consumption = await pad.consume(padCommands, { maxAttempts: 2 }, async ({ message, sequence }) => {
      const subject = trialSubject('pad', 'pad', message.envelope.id);
      const manager = await jetstreamManager(pad.connection);
      const stored = await manager.direct.getMessage(TRIAL_STREAM, { last_by_subj: subject });
      trials.set(sequence, stored?.string() ?? '');
    });
    await until(() => trials.size === 1);
    expect([...trials.values()][0]).toMatch(/"unended":1/);
    await consumption.stop();
  });

  it('are enough for what its manifest says', async () => {
    await verifyTopology(pad.connection, topologyOf([padManifest]), { service: 'pad' });
    await verifyTopology(control.connection, topologyOf([controlManifest]), { service: 'control' });
    const seen: string[] = [];
    await control.consume(controlLog, { maxAttempts: 1 }, async () => {
      seen.push('log');
      throw new Error('for the dead letters');
    });
    await control.consume(controlScreen, { ordered: true }, async () => void seen.push('screen'));
    await pad.consume(padCommands, {}, async (delivery) => {
      delivery.working();
      await pad.publish(launched('ariane'));
      const reply = { ...launch('ariane'), subject: 'reply.control.1.ariane' };
      await pad.publish(reply);
    });
    await control.consume(
      { stream: 'REPLY_control', name: 'control' },
      {},
      async () => void seen.push('reply'),
    );
    await control.publish(launch('ariane'));
    await until(() => seen.length === 3);
    expect(seen.sort()).toEqual(['log', 'reply', 'screen']);
    const manager = await jetstreamManager(pad.connection);
    await until(async () => {
      const stats = await manager.getAccountInfo();
      return stats.streams === conformanceTopology().streams.length;
    });
    await pad.serve(launchRpc, { queue: 'pad', maxInFlight: 1 }, async (request) => okReply(request, 1));
    await pad.announce({ name: 'pad', version: '1.0.0', description: '', endpoints: [launchRpc] });
    expect(pad.health()).toEqual({ connected: true, jetstream: true });
  });

  it('let it read its own settings and see them change, and neither write them nor read others’', async () => {
    const own = new ConfigBucket(pad.connection);
    expect(await own.read('pad', 'maxInFlight')).toBeUndefined();
    const changes: string[] = [];
    pad.connection.subscribe(configSubject('pad', '*'), {
      callback: (_error, message) => void changes.push(message.string()),
    });
    await pad.connection.flush();
    const operator = await connectNats({
      servers: nats.url,
      name: 'operator',
      inboxPrefix: inboxPrefixOf('operator'),
      credentials: { user: 'operator', password: 'operator' },
    });
    const bucket = new ConfigBucket(operator);
    await bucket.set('pad', 'maxInFlight', '9', { by: 'ada', after: 0 });
    await until(() => changes.length === 1);
    expect(await own.read('pad', 'maxInFlight')).toMatchObject({ value: '9', by: 'ada' });
    expect(await bucket.history('pad', 'maxInFlight')).toHaveLength(1);
    expect(await bucket.keys()).toEqual([{ service: 'pad', key: 'maxInFlight' }]);
    await operator.close();
    const denied = /Permissions Violation/i;
    await expect(own.set('pad', 'maxInFlight', '8', { by: 'pad', after: 1 })).rejects.toThrow(denied);
    await expect(own.read('control', 'maxInFlight')).rejects.toThrow(denied);
  });

  it('let an operator read dead letters, keep the record of its acts, and answer who asks for them', async () => {
    const operator = await connectNats({
      servers: nats.url,
      name: 'operator',
      inboxPrefix: inboxPrefixOf('operator'),
      credentials: { user: 'operator', password: 'operator' },
    });
    expect(await new DeadLetters(operator).groups()).toMatchObject({ complete: true });
    const trail = new AuditTrail(operator);
    await trail.record({ by: 'ada', via: 'cli', area: 'test', action: 'look', target: 'all', detail: {} });
    expect(await trail.list({ area: 'test' })).toMatchObject([{ by: 'ada', action: 'look' }]);
    operator.subscribe('ops.fleet.dead-letters', {
      callback: (_error, message) => void message.respond('here'),
    });
    await operator.flush();
    expect((await operator.request('ops.fleet.dead-letters', '', { timeout: 2_000 })).string()).toBe('here');
    const denied = /Permissions Violation/i;
    await expect(pad.connection.request('ops.fleet.dead-letters', '', { timeout: 1_000 })).rejects.toThrow(
      denied,
    );
    await expect(new AuditTrail(pad.connection).list()).rejects.toThrow(denied);
    await operator.close();
  });

  it('are not enough for anything else, and the refusal is a typed error at once', async () => {
    const refused = { code: 'PUBLISH_REFUSED', reason: 'the user may not publish there' };
    await expect(control.publish(launched('ariane'))).rejects.toMatchObject(refused);
    await expect(pad.request(launchRequest('ariane'), { timeoutMs: 10_000 })).rejects.toMatchObject(refused);
    // What it sends as a durable command it may ask for as a request, and nothing else.
    await control.request(launchRequest('ariane'), { timeoutMs: 10_000 });
    const another = { ...launchRequest('ariane'), subject: 'rpc.pad.Land.v1' };
    await expect(control.request(another, { timeoutMs: 10_000 })).rejects.toMatchObject(refused);
    await expect(pad.publish({ ...launch('ariane'), subject: 'dlq.control.x' })).rejects.toMatchObject(
      refused,
    );
    const manager = await jetstreamManager(pad.connection, { checkAPI: false });
    await expect(manager.streams.delete('EVT_pad')).rejects.toThrow(/Permissions Violation/i);
    await expect(manager.streams.add({ name: 'X', subjects: ['x'] })).rejects.toThrow(
      /Permissions Violation/i,
    );
    const denied = new Promise<Error | null>((resolve) => {
      pad.connection.subscribe(`${inboxPrefixOf('control')}.>`, { callback: (error) => resolve(error) });
    });
    expect(String(await denied)).toMatch(/Permissions Violation/i);
  });
});
