/**
 * A program that takes part in a Flotilla fleet with a plain NATS client: docs/wire.md, step by step. It imports
 * nothing of the chassis.
 *
 *     node interop.ts call    # asks the service "alpha", sends it a durable command, reads one of its events
 *     node interop.ts serve   # is the service "beta": answers a query and handles the durable commands of a saga
 *
 * It prints one JSON object a line. NATS_URL says where the server is.
 */
import { createHash, randomUUID } from 'node:crypto';
import { jetstream, jetstreamManager, type JetStreamClient, type JsMsg } from '@nats-io/jetstream';
import { connect, headers, type MsgHdrs, type NatsConnection } from '@nats-io/transport-node';

function partitionOf(key: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(key)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return ((hash ^ (hash >>> 16)) >>> 0) % 16;
}

function subjectToken(key: string): string {
  const token = [...new TextEncoder().encode(key)].map((byte) => {
    const character = String.fromCharCode(byte);
    return /[A-Za-z0-9_-]/.test(character)
      ? character
      : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  });
  return token.join('') || '=';
}

function headersOf(values: Record<string, string>): MsgHdrs {
  const all = headers();
  for (const [name, value] of Object.entries(values)) all.set(name, value);
  return all;
}

/** A UUID that is the same for the same text. */
function derivedId(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

const say = (fact: object): void => console.log(JSON.stringify(fact));

/** Is the service "outside", whose manifest provisioned its streams and consumers. */
async function call(servers: string): Promise<void> {
  const nc = await connect({ servers, inboxPrefix: '_INBOX_outside' });
  const js = jetstream(nc);

  // A query: a request with an id and a type.
  const answer = await nc.request('rpc.alpha.GetTotal.v1', JSON.stringify({ accountId: 'ts-nobody' }), {
    timeout: 5_000,
    headers: headersOf({ 'ce-id': randomUUID(), 'ce-type': 'alpha.GetTotal.v1' }),
  });
  say({ query: answer.json(), outcome: answer.headers?.get('ce-outcome') });

  // A durable command: stored in its owner's queue, answered in ours. Sent twice, as after a lost acknowledgement.
  const [key, conversation, commandId] = ['ts-1', 'conversation-1', randomUUID()] as const;
  const subject = `cmd.alpha.Add.v1.${partitionOf(key)}.${subjectToken(key)}`;
  const envelope = {
    'ce-specversion': '1.0',
    'ce-id': commandId,
    'ce-type': 'alpha.Add.v1',
    'ce-source': 'outside',
    'ce-time': new Date().toISOString(),
    'ce-subject': key,
    'ce-correlationid': commandId,
    'ce-replyto': `reply.outside.${partitionOf(conversation)}.${subjectToken(conversation)}`,
    'content-type': 'application/json',
  };
  const body = JSON.stringify({ accountId: key, amount: 5 });
  await js.publish(subject, body, { headers: headersOf({ ...envelope, 'Nats-Msg-Id': commandId }) });
  await js.publish(subject, body, { headers: headersOf({ ...envelope, 'Nats-Msg-Id': `${commandId}.2` }) });
  const replies = await js.consumers.get('REPLY_outside', 'outside');
  for (let n = 0; n < 2; n++) {
    const reply = await replies.next({ expires: 15_000 });
    if (reply === null) throw new Error('no answer');
    say({
      answer: reply.json(),
      outcome: reply.headers?.get('ce-outcome'),
      mine: reply.headers?.get('ce-causationid') === commandId,
      conversation: reply.subject.split('.').at(-1),
    });
    await reply.ackAck();
  }
  await takeOutHandled(nc, 'REPLY_outside', 'outside');

  // An event: from the consumer of our reaction "watch".
  const event = await (await js.consumers.get('EVT_alpha', 'outside-watch')).next({ expires: 15_000 });
  if (event === null) throw new Error('no event');
  say({
    event: event.json(),
    type: event.headers?.get('ce-type'),
    about: event.headers?.get('ce-subject'),
  });
  await event.ackAck();
  await nc.close();
}

/** Is the service "beta". */
async function serve(servers: string): Promise<void> {
  const nc = await connect({ servers, inboxPrefix: '_INBOX_beta' });
  const js = jetstream(nc);
  // Stands for a table that is written in the transaction of the change.
  const handled = new Map<string, object>();
  nc.subscribe('rpc.beta.GetBalance.v1', {
    queue: 'beta',
    callback: (error, request) => {
      if (error) throw error;
      const deadline = request.headers?.get('ce-deadline');
      if (deadline && Date.parse(deadline) < Date.now()) return; // nobody waits any more
      say({ served: request.json<unknown>() });
      request.respond(JSON.stringify({ balance: 42 }));
    },
  });
  const commands = await js.consumers.get('CMD_beta', 'beta');
  await nc.flush();
  say({ ready: true });

  let stopped = false;
  process.on('SIGTERM', () => (stopped = true));
  while (!stopped) {
    const command = await commands.next({ expires: 1_000 });
    if (command === null) continue;
    await handle(js, command, handled);
    await takeOutHandled(nc, 'CMD_beta', 'beta');
  }
  await nc.drain();
}

async function handle(js: JetStreamClient, command: JsMsg, handled: Map<string, object>): Promise<void> {
  const told = (name: string): string => command.headers?.get(name) ?? '';
  const id = told('ce-id');
  if (told('ce-type') !== 'beta.Charge.v1' || id === '') {
    await giveUp(js, command, 'UNKNOWN_MESSAGE', `no handler for ${told('ce-type')}`);
    return;
  }
  const first = !handled.has(id);
  if (first) handled.set(id, { chargeId: `ts-${command.json<{ tabId: string }>().tabId}` });
  say({ handled: id, first });
  if (told('ce-replyto') !== '') {
    const replyId = derivedId(`${id}/reply/${command.seq}`);
    await js.publish(told('ce-replyto'), JSON.stringify(handled.get(id)), {
      headers: headersOf({
        'Nats-Msg-Id': replyId,
        'ce-specversion': '1.0',
        'ce-id': replyId,
        'ce-type': told('ce-type'),
        'ce-source': 'beta',
        'ce-time': new Date().toISOString(),
        'ce-subject': told('ce-subject') || id,
        'ce-correlationid': told('ce-correlationid') || id,
        'ce-causationid': id,
        'ce-outcome': 'ok',
        'content-type': 'application/json',
      }),
    });
  }
  await command.ackAck();
}

/** The dead letter first, then the settlement. */
async function giveUp(js: JetStreamClient, message: JsMsg, code: string, why: string): Promise<void> {
  const kept = headers();
  for (const [name, [value]] of message.headers ?? headers()) {
    if (!name.startsWith('Nats-')) kept.set(name, value ?? '');
  }
  const facts = {
    'Nats-Msg-Id': derivedId(`DLQ/beta/CMD_beta/${message.seq}`),
    'flotilla-error-code': code,
    'flotilla-error-message': why,
    'flotilla-attempts': String(message.info.deliveryCount),
    'flotilla-service': 'beta',
    'flotilla-consumer': 'beta',
    'flotilla-original-subject': message.subject,
    'flotilla-original-stream': 'CMD_beta',
    'flotilla-original-sequence': String(message.seq),
    'flotilla-died-at': new Date().toISOString(),
    'flotilla-history': '[]',
  };
  for (const [name, value] of Object.entries(facts)) kept.set(name, value);
  await js.publish('dlq.beta.beta', message.data, { headers: kept });
  message.term();
}

/** A queue keeps what is not handled: its consumer takes out the rest. */
async function takeOutHandled(nc: NatsConnection, stream: string, consumer: string): Promise<void> {
  const manager = await jetstreamManager(nc, { checkAPI: false });
  const { ack_floor: floor } = await manager.consumers.info(stream, consumer);
  if (floor.stream_seq > 0) await manager.streams.purge(stream, { seq: floor.stream_seq + 1 });
}

const servers = process.env['NATS_URL'] ?? 'nats://127.0.0.1:3022';
if (process.argv[2] === 'serve') await serve(servers);
else await call(servers);
