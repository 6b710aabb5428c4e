import type { EmbeddedNats } from '@flotilla/embedded';
import { FlotillaError } from '@flotilla/kernel';
import { ManualClock, startTestNats, until, type TestServer } from '@flotilla/testing';
import { jetstreamManager } from '@nats-io/jetstream';
import { AuditTrail, DeadLetters, provision, type NatsBroker } from '../src/index.ts';
import { conformanceTopology, launch, padCommands, payloadOf } from '../src/testing/conformance-messages.ts';
import { quickBroker, removeAllStreams } from './nats-harness.ts';

describe('many dead letters', () => {
  let nats: TestServer<EmbeddedNats>;
  let pad: NatsBroker;
  let letters: DeadLetters;
  let audit: AuditTrail;
  let broken: boolean;
  let handled: number[];

  beforeAll(async () => {
    nats = await startTestNats();
  });
  afterAll(() => nats.dispose());
  beforeEach(async () => {
    pad = await quickBroker(nats.url);
    await removeAllStreams(pad.connection);
    await provision(pad.connection, conformanceTopology());
    letters = new DeadLetters(pad.connection);
    audit = new AuditTrail(pad.connection);
    broken = true;
    handled = [];
    await pad.consume(padCommands, { maxAttempts: 1 }, async ({ message }) => {
      const { n } = payloadOf(message);
      if (broken && n % 3 === 0) throw new FlotillaError('NO_FUEL', `rocket-${n} has 0 of ${n} litres`);
      if (broken) throw new Error(`engine ${n} is cold`);
      handled.push(n);
    });
  });
  afterEach(() => pad.close());

  const die = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n++) await pad.publish(launch(`rocket-${n}`, n));
    await until(async () => (await letters.count()) === count);
  };

  it('are grouped by their fault, whatever differs from one to the next, over pages', async () => {
    await die(300);
    const { groups, letters: read, complete } = await letters.groups();
    expect({ read, complete }).toEqual({ read: 300, complete: true });
    expect(groups).toMatchObject([
      {
        count: 200,
        service: 'pad',
        consumer: 'pad',
        type: 'pad.Launch.v1',
        errorCode: 'Error',
        error: 'engine <n> is cold',
      },
      { count: 100, errorCode: 'NO_FUEL', error: '<id> has <n> of <n> litres' },
    ]);
    const { key, sample } = groups[1]!;
    expect(await letters.get(sample)).toMatchObject({ group: key, errorCode: 'NO_FUEL' });
    const some = await letters.list({ group: key, limit: 1_000 });
    expect(some.map(({ group }) => group)).toEqual(Array.from({ length: 100 }, () => key));
    expect(await letters.groups({}, 10)).toMatchObject({ letters: 10, complete: false });
    expect(await letters.groups({ service: 'nobody' })).toMatchObject({ groups: [], complete: true });
  });

  it('of a group are replayed, bounded, stopped and gone on with, and none for ever', async () => {
    await die(30);
    const [cold, fuel] = (await letters.groups()).groups;
    const upTo = await letters.lastSequence();
    const stop = new AbortController();
    const filter = { group: cold!.key, upTo };
    const first = await letters.replayMany(filter, {
      perSecond: 1_000,
      signal: stop.signal,
      onProgress: (replayed) => replayed === 5 && stop.abort(),
    });
    expect(first).toMatchObject({ replayed: 5, stopped: 'signal' });
    expect(await letters.replayMany(filter, { perSecond: 1_000, limit: 10 })).toMatchObject({
      replayed: 10,
      stopped: 'limit',
    });
    // They die again, with later numbers: not a second time.
    await until(async () => (await letters.count()) === 30);
    expect(await letters.replayMany(filter, { perSecond: 1_000 })).toMatchObject({ replayed: 5 });
    await until(async () => (await letters.count()) === 30);
    expect(await letters.replayMany(filter)).toEqual({ replayed: 0, last: 0 });
    broken = false;
    await letters.replayMany({ group: cold!.key }, { perSecond: 1_000 });
    await until(() => handled.length === 20);
    expect((await letters.groups()).groups).toMatchObject([{ key: fuel!.key, count: 10 }]);
  });

  it('are sent back no faster than allowed', async () => {
    await die(6);
    const clock = new ManualClock();
    let replayed = 0;
    const running = letters.replayMany({}, { perSecond: 2, clock, onProgress: (so) => (replayed = so) });
    for (const expected of [1, 2, 3]) {
      await until(() => replayed === expected && clock.pending === 1);
      await clock.advance(499);
      expect(replayed).toBe(expected);
      await clock.advance(1);
    }
    await until(async () => {
      await clock.advance(500);
      return replayed === 6;
    });
    await running;
  });

  it('stay dead letters when their body is changed, as a new version with the reason of their death', async () => {
    await die(1);
    const [letter] = await letters.list();
    const changed = await letters.edit(letter!.sequence, '{"rocket":"ariane","n":7}');
    expect(changed).toMatchObject({
      version: 2,
      editedFrom: letter!.sequence,
      messageId: letter!.messageId,
      errorCode: 'NO_FUEL',
      group: letter!.group,
      history: letter!.history,
    });
    expect(changed.sequence).toBeGreaterThan(letter!.sequence);
    await expect(letters.get(letter!.sequence)).rejects.toMatchObject({ code: 'DEAD_LETTER_NOT_FOUND' });
    const third = await letters.edit(changed.sequence, '{"rocket":"ariane","n":8}');
    expect(third.version).toBe(3);
    broken = false;
    await letters.replay(third.sequence);
    await until(() => handled.includes(8));
    expect(await letters.count()).toBe(0);
    // The versions are the letter's, not the message's.
    const stream = await (
      await jetstreamManager(pad.connection)
    ).streams.getMessage('CMD_pad', {
      last_by_subj: 'cmd.>',
    });
    expect(stream?.header.keys()).not.toContain('flotilla-version');
  });

  it('leave a record of what was done, that nobody can change', async () => {
    const entry = { by: 'ann', via: 'cli', area: 'dead-letters', detail: { letter: 1 } };
    await audit.record({ ...entry, action: 'drop', target: 'pad/pad m-1', reason: 'a test' });
    const id = await audit.record({ ...entry, by: 'bob', action: 'replay', target: 'pad/pad m-2' });
    // Told twice, kept once.
    await audit.record({ ...entry, id, by: 'bob', action: 'replay', target: 'pad/pad m-2' });
    expect(await audit.list()).toMatchObject([
      { by: 'bob', action: 'replay', target: 'pad/pad m-2', detail: { letter: 1 } },
      { by: 'ann', action: 'drop', reason: 'a test' },
    ]);
    expect(await audit.list({ action: 'drop' })).toHaveLength(1);
    expect(await audit.list({ by: 'bob' })).toHaveLength(1);
    expect(await audit.list({ target: 'm-1' })).toMatchObject([{ action: 'drop' }]);
    expect(await audit.list({ limit: 1 })).toMatchObject([{ by: 'bob' }]);
    const manager = await jetstreamManager(pad.connection);
    await expect(manager.streams.deleteMessage('AUDIT', 1)).rejects.toThrow();
    await expect(manager.streams.purge('AUDIT')).rejects.toThrow();
  });
});
