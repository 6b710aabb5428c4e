import { jetstream, jetstreamManager } from '@nats-io/jetstream';
import { headers as natsHeaders } from '@nats-io/nats-core';
import { newId, partitionOf } from '@flotilla/kernel';
import { DeadLetters } from '@flotilla/messaging';
import type { Poison, World } from '../world.ts';
import { waitFor } from '../wait.ts';
import type { Fault } from './fault.ts';

const TYPE = 'inventory.ReserveStock.v1';
const DIES_WITHIN_MS = 60_000;
/** Messages of which nothing is wrong, sent beside the one that kills its process. */
const BESIDE = 40;

/** Messages that nobody can handle, each in another way. */
export const poison: Fault = {
  name: 'poison',
  what: 'messages of bad JSON, an unknown version, no envelope, an invalid payload, and one whose handler always throws',
  holds: 'each becomes a dead letter with its reason; messages around it are handled; no saga waits for it',
  seen: '`fleet dlq list`; `flotilla_dead_letters_total`; "A message became a dead letter"',
  needs: 'single',
  async inject(world) {
    const sent = [
      await send(world, 'bad JSON', { body: '{"orderId": "' }),
      await send(world, 'unknown version', { headers: { 'ce-type': 'inventory.ReserveStock.v9' } }),
      await send(world, 'no envelope', { envelope: false }),
      await send(world, 'invalid payload', { body: JSON.stringify({ orderId: 'none', lines: [] }) }),
      await send(world, 'always throws', { body: alwaysThrows(newId()) }),
    ];
    return {
      done: `${sent.length} messages to inventory that nobody can handle`,
      touches: ['inventory'],
      times: sent.length,
      observe: () => untilDead(world, sent),
    };
  },
};

/** A consumer's window of unacknowledged messages filled by messages that fail again and again. */
export const fullWindow: Fault = {
  name: 'full-window',
  what: "inventory's consumer may have 4 messages in flight, and 4 that always fail fill the window",
  holds: 'the others wait until the window is free again, and then go on; nothing is dropped',
  seen: '`fleet status`: messages waiting on CMD_inventory; `flotilla_consumer_pending`',
  needs: 'single',
  async inject(world) {
    const before = await setWindow(world, 4);
    const sent: Poison[] = [];
    for (let at = 0; at < 4; at++) {
      sent.push(await send(world, 'always throws', { body: alwaysThrows(newId()) }));
    }
    return {
      done: `${sent.length} messages that fail in a window of ${sent.length}`,
      touches: ['inventory'],
      lastsMs: 2_000,
      observe: () => untilDead(world, sent),
      heal: async () => {
        await setWindow(world, before);
      },
    };
  },
};

/**
 * A message whose handling ends the process, each time: seen from outside, where its id appears in the service's
 * statements, and done by kill -9.
 */
export const killerMessage: Fault = {
  name: 'killer-message',
  what: 'a message that kills its process each time that it is handled (kill -9 when its id appears in its statements)',
  holds:
    'once it has ended its process alone, often enough, it becomes a dead letter; messages beside it do not',
  seen: '`fleet status`: crash loop; then a dead letter `DELIVERY_COUNT_EXCEEDED`',
  needs: 'single',
  async inject(world) {
    const { postgres } = world.proxiesOf('inventory');
    const id = newId();
    const needle = Buffer.from(id, 'latin1');
    let kills = 0;
    const forget = postgres?.watch((frame, direction) => {
      if (direction !== 'up' || !frame.bytes.includes(needle)) return 'pass';
      kills += 1;
      world.kill('inventory');
      return 'reset';
    });
    // Those around it are handled in the same transactions, and die with the process as often.
    await sendInnocents(world, BESIDE / 2);
    const sent = await send(world, 'kills its process', { id });
    await sendInnocents(world, BESIDE / 2);
    try {
      await untilDead(world, [sent], 300_000);
    } finally {
      forget?.();
    }
    return {
      done: `inventory was killed ${kills} times by one message`,
      touches: ['inventory'],
      times: kills,
    };
  },
};

interface Draft {
  readonly id?: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly envelope?: boolean;
}

/** Sends a command to inventory as a saga would, and notes it as poison. */
async function send(world: World, kind: string, draft: Draft): Promise<Poison> {
  const sent = await publish(world, draft);
  const poison = { ...sent, kind };
  world.poison.push(poison);
  return poison;
}

/** Commands that are refused, because the product is not there, and leave nothing behind. */
async function sendInnocents(world: World, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, () => publish(world, {})));
}

async function publish(world: World, draft: Draft): Promise<Omit<Poison, 'kind'>> {
  const { id = newId(), envelope = true } = draft;
  const key = newId();
  const body = draft.body ?? JSON.stringify({ orderId: key, lines: [{ sku: 'NO-SUCH-SKU', quantity: 1 }] });
  const headers = natsHeaders();
  if (envelope) {
    const fields: Record<string, string> = {
      'ce-specversion': '1.0',
      'ce-id': id,
      'ce-type': TYPE,
      'ce-source': 'chaos',
      'ce-time': new Date().toISOString(),
      'ce-subject': key,
      ...draft.headers,
    };
    for (const [name, value] of Object.entries(fields)) headers.set(name, value);
  }
  const subject = `cmd.inventory.ReserveStock.v1.${partitionOf(key)}.${key}`;
  const { stream, seq } = await jetstream(await world.nats()).publish(subject, body, { headers, msgID: id });
  return { id: envelope ? id : undefined, stream, sequence: seq };
}

/** No text of Postgres may have a zero byte, which the contract allows: the handler's statement fails each time. */
function alwaysThrows(orderId: string): string {
  return JSON.stringify({ orderId, lines: [{ sku: 'zero\u0000byte', quantity: 1 }] });
}

/** Waits until each has its dead letter; says which codes they died of. */
async function untilDead(world: World, sent: readonly Poison[], timeoutMs = DIES_WITHIN_MS): Promise<string> {
  const codes = await waitFor(
    async () => {
      const letters = await new DeadLetters(await world.nats()).list({ limit: 1_000 });
      const found = sent.map(({ stream, sequence }) =>
        letters.find((each) => each.originalStream === stream && each.originalSequence === sequence),
      );
      return found.every((each) => each !== undefined) && found.map((each) => each.errorCode);
    },
    { timeoutMs, describe: `${sent.length} poisonous messages are dead letters` },
  );
  return `dead letters: ${[...new Set(codes)].join(', ')}`;
}

/** Sets how many messages the consumer of inventory's commands may have in flight; returns how many it could. */
async function setWindow(world: World, window: number): Promise<number> {
  const manager = await jetstreamManager(await world.nats());
  const { config } = await manager.consumers.info('CMD_inventory', 'inventory');
  await manager.consumers.update('CMD_inventory', 'inventory', { max_ack_pending: window });
  return config.max_ack_pending ?? 2_000;
}
