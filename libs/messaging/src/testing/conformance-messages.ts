import { z } from 'zod';
import {
  commandSubject,
  contractOf,
  defineCommand,
  defineEvent,
  defineService,
  encodeEnvelope,
  eventSubject,
  rpcSubject,
  type Envelope,
} from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import type { OutgoingMessage, OutgoingReply, IncomingMessage } from '../broker.ts';
import { topologyOf, type Topology, type TopologyOptions } from '../topology.ts';

export class Launch extends defineCommand({
  owner: 'pad',
  name: 'Launch',
  version: 1,
  payload: z.object({ rocket: z.string(), n: z.number() }),
  key: ({ rocket }) => rocket,
}) {}

export class Launched extends defineEvent({
  owner: 'pad',
  name: 'Launched',
  version: 1,
  payload: z.object({ rocket: z.string(), n: z.number() }),
  aggregate: ({ rocket }) => rocket,
}) {}

export const pad = defineService({ name: 'pad', handles: [Launch], publishes: [Launched], database: false });
export const control = defineService({
  name: 'control',
  sends: [Launch],
  reacts: { log: { events: [Launched] }, screen: { events: [Launched], ordered: true } },
  database: false,
});

export const padCommands = { stream: 'CMD_pad', name: 'pad' } as const;
export const controlLog = { stream: 'EVT_pad', name: 'control-log' } as const;
export const controlScreen = { stream: 'EVT_pad', name: 'control-screen' } as const;

/** The topology of the suite: one service with a command and an event, another that reacts, also in order. */
export function conformanceTopology(options: TopologyOptions = {}): Topology {
  return topologyOf([pad, control], {
    ackWaitMs: 1_000,
    eventMaxBytes: 32 * 1024 ** 2,
    queueMaxBytes: 32 * 1024 ** 2,
    deadLetterMaxBytes: 32 * 1024 ** 2,
    payloadMaxBytes: 64 * 1024 ** 2,
    ...options,
  });
}

function envelopeOf(type: string, source: string, subject: string, more: Partial<Envelope>): Envelope {
  const id = newId();
  return { id, type, source, time: new Date().toISOString(), subject, correlationId: id, ...more };
}

/** A durable `Launch` command. */
export function launch(rocket: string, n = 1, more: Partial<Envelope> = {}): OutgoingMessage {
  const envelope = envelopeOf(contractOf(Launch).type, 'control', rocket, more);
  return {
    id: envelope.id,
    subject: commandSubject(contractOf(Launch), rocket),
    key: rocket,
    headers: encodeEnvelope(envelope),
    body: JSON.stringify({ rocket, n }),
  };
}

/** A `Launched` event. */
export function launched(rocket: string, n = 1): OutgoingMessage {
  const envelope = envelopeOf(contractOf(Launched).type, 'pad', rocket, {});
  return {
    id: envelope.id,
    subject: eventSubject(contractOf(Launched), rocket),
    key: rocket,
    headers: encodeEnvelope(envelope),
    body: JSON.stringify({ rocket, n }),
  };
}

export const launchRpc = rpcSubject(contractOf(Launch));

/** A `Launch` as a request. */
export function launchRequest(rocket: string, more: Partial<Envelope> = {}): OutgoingMessage {
  return { ...launch(rocket, 1, more), subject: launchRpc };
}

/** An answer with the outcome `ok`. */
export function okReply(request: IncomingMessage, value: unknown): OutgoingReply {
  const { type, subject, correlationId, id } = request.envelope;
  const envelope = envelopeOf(type, 'pad', subject, { correlationId, causationId: id, outcome: 'ok' });
  return { headers: encodeEnvelope(envelope), body: JSON.stringify(value) };
}

/** The payload of a `Launch` or `Launched`. */
export function payloadOf(message: IncomingMessage): { rocket: string; n: number } {
  return message.json() as { rocket: string; n: number };
}
