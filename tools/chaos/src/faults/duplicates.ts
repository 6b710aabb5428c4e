import { headers as natsHeaders, type MsgHdrs } from '@nats-io/nats-core';
import { jetstream } from '@nats-io/jetstream';
import { systemClock } from '@flotilla/kernel';
import type { Frame } from '../proxy/frames.ts';
import { storesMessage, subjectOf } from '../proxy/nats-frames.ts';
import type { World } from '../world.ts';
import { FaultNotInjectedError } from '../chaos.errors.ts';
import type { Fault } from './fault.ts';

/** How long messages are collected before they are sent again. */
const COLLECT_MS = 3_000;
const COPIES = 5;
const AT_MOST = 300;

interface Caught {
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** Each message of some seconds sent five times more, at once. */
export const duplicates: Fault = {
  name: 'duplicates',
  what: 'commands, answers and events of 3 s sent five times more, without the id by which streams recognise them',
  holds: 'each acts once: receivers recognise it by its id',
  seen: '`flotilla_messages_handled_total{outcome="duplicate"}`',
  needs: 'single',
  async inject(world) {
    const caught = await collect(world, COLLECT_MS);
    for (let copy = 0; copy < COPIES; copy++) {
      await sendAll(world, caught, ({ headers: { 'Nats-Msg-Id': _known, ...headers } }) => headers);
    }
    return {
      done: `${caught.length} messages sent ${COPIES} times more`,
      touches: 'all',
      times: caught.length * COPIES,
    };
  },
};

/** Messages sent again exactly as they were, after the streams have forgotten their ids. */
export const lateDuplicates: Fault = {
  name: 'late-duplicates',
  what: 'commands, answers and events sent again as they were, after the de-duplication window',
  holds: 'each acts once: the inbox remembers for days what the stream forgets after minutes',
  seen: '`flotilla_messages_handled_total{outcome="duplicate"}`',
  needs: 'single',
  async inject(world) {
    const caught = await collect(world, COLLECT_MS);
    await systemClock.sleep(world.duplicateWindowMs + 2_000);
    const stored = await sendAll(world, caught, ({ headers }) => headers);
    return {
      done: `${caught.length} messages sent again after ${Math.round(world.duplicateWindowMs / 1_000)} s; the streams took ${stored} for new ones`,
      touches: 'all',
      times: caught.length,
    };
  },
};

/** Everything that services store in streams for a while, as it is on the wire. */
async function collect(world: World, forMs: number): Promise<Caught[]> {
  const caught: Caught[] = [];
  const forgets = world.fleet.processes.map(({ name }) =>
    world.proxiesOf(name).nats.watch((frame, direction) => {
      if (direction === 'up' && storesMessage(frame) && caught.length < AT_MOST) caught.push(read(frame));
      return 'pass';
    }),
  );
  await systemClock.sleep(forMs);
  for (const forget of forgets) forget();
  if (caught.length === 0) throw new FaultNotInjectedError('duplicates', 'no message was sent');
  return caught;
}

async function sendAll(
  world: World,
  caught: readonly Caught[],
  headersOf: (each: Caught) => Readonly<Record<string, string>>,
): Promise<number> {
  const js = jetstream(await world.nats());
  const receipts = await Promise.all(
    caught.map((each) => js.publish(each.subject, each.body, { headers: natsHeadersOf(headersOf(each)) })),
  );
  return receipts.filter(({ duplicate }) => !duplicate).length;
}

/** Takes `HPUB <subject> <reply> <bytes of the headers> <bytes>` apart. */
function read(frame: Frame): Caught {
  const { bytes } = frame;
  const lineEnd = bytes.indexOf('\r\n');
  const words = bytes.toString('latin1', 0, lineEnd).split(' ');
  const headerBytes = frame.kind === 'HPUB' ? Number(words.at(-2)) : 0;
  const start = lineEnd + 2;
  const headers: Record<string, string> = {};
  for (const line of bytes
    .toString('utf8', start, start + headerBytes)
    .split('\r\n')
    .slice(1)) {
    const colon = line.indexOf(':');
    if (colon > 0) headers[line.slice(0, colon)] = line.slice(colon + 1).trim();
  }
  // The bytes of a frame belong to the socket's buffer.
  const body = Buffer.from(bytes.subarray(start + headerBytes, bytes.length - 2));
  return { subject: subjectOf(frame), headers, body };
}

function natsHeadersOf(fields: Readonly<Record<string, string>>): MsgHdrs {
  const headers = natsHeaders();
  for (const [name, value] of Object.entries(fields)) headers.set(name, value);
  return headers;
}
