import { LengthFramer, type Frame, type Protocol } from './frames.ts';

/** Those with a payload, whose size is the last word of their line. */
const WITH_PAYLOAD: ReadonlySet<string> = new Set(['PUB', 'HPUB', 'MSG', 'HMSG']);

/** NATS' client protocol (https://docs.nats.io/reference/reference-protocols/nats-protocol), without TLS. */
export const natsProtocol: Protocol = {
  name: 'nats',
  up: () => new LengthFramer(nextFrame),
  down: () => new LengthFramer(nextFrame),
};

function nextFrame(bytes: Buffer): { kind: string; length: number } | undefined {
  const end = bytes.indexOf('\r\n');
  if (end < 0) return undefined;
  const line = bytes.toString('latin1', 0, end);
  const kind = (/^\S+/.exec(line)?.[0] ?? '').toUpperCase();
  if (!WITH_PAYLOAD.has(kind)) return { kind, length: end + 2 };
  const size = Number(line.slice(line.lastIndexOf(' ') + 1));
  return { kind, length: end + 2 + size + 2 };
}

/** The subject that a client publishes to, or that a message came on; empty for other frames. */
export function subjectOf({ kind, bytes }: Frame): string {
  if (!WITH_PAYLOAD.has(kind)) return '';
  return bytes.toString('latin1', 0, bytes.indexOf('\r\n')).split(' ')[1] ?? '';
}

/** Whether a client stores a message in a stream of ours: an event, a command or an answer to a saga. */
export function storesMessage(frame: Frame): boolean {
  return (frame.kind === 'HPUB' || frame.kind === 'PUB') && /^(?:evt|cmd|reply)\./.test(subjectOf(frame));
}

/** Whether a client settles a message: an acknowledgement, not a word that it is worked on. */
export function acknowledges(frame: Frame): boolean {
  if (frame.kind !== 'PUB' || !subjectOf(frame).startsWith('$JS.ACK.')) return false;
  const body = frame.bytes.toString('latin1', frame.bytes.indexOf('\r\n') + 2, frame.bytes.length - 2);
  return body === '' || body.startsWith('+ACK');
}

/** Whether the server says that it has stored a message in a stream. */
export function saysStored({ kind, bytes }: Frame): boolean {
  if (kind !== 'MSG') return false;
  const body = bytes.subarray(bytes.indexOf('\r\n') + 2);
  return body.length < 1_024 && /^\{"stream":"(?:EVT|CMD|REPLY)_/.test(body.toString('latin1', 0, 64));
}
