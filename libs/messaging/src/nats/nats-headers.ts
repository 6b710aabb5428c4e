import { MsgHdrsImpl, type Msg, type MsgHdrs } from '@nats-io/nats-core';
import { InvalidHeaderError } from '../messaging.errors.ts';

/** Names that have been looked at: there are few, and each comes with every message. */
const validNames = new Set<string>();
const MAX_VALID_NAMES = 1_000;

/**
 * Headers that are ready for the wire. The client's own way looks at each name several times, compares it with all
 * before it and copies the text twice; ours are distinct already, and known to be valid.
 */
class WireHeaders extends MsgHdrsImpl {
  readonly #text: string;

  constructor(text: string) {
    super();
    this.#text = text;
  }

  override encode(): Uint8Array {
    return Buffer.from(this.#text, 'utf8');
  }

  override toString(): string {
    return this.#text;
  }
}

/** Headers for the wire. */
export function toNatsHeaders(headers: Readonly<Record<string, string>>): MsgHdrs {
  let text = 'NATS/1.0';
  for (const name in headers) {
    const value = headers[name] as string;
    if (!isValidName(name) || value.includes('\n') || value.includes('\r'))
      throw new InvalidHeaderError(name);
    text += `\r\n${name}: ${value}`;
  }
  return new WireHeaders(`${text}\r\n\r\n`);
}

function isValidName(name: string): boolean {
  if (validNames.has(name)) return true;
  if (!/^[!-9;-~]+$/.test(name)) return false;
  if (validNames.size < MAX_VALID_NAMES) validNames.add(name);
  return true;
}

const none: Readonly<Record<string, string>> = Object.freeze({});

/** Headers that the client has decoded; of one that is repeated, the first. */
export function fromNatsHeaders(headers: MsgHdrs | undefined): Readonly<Record<string, string>> {
  if (headers === undefined) return none;
  if (headers instanceof WireHeaders) return parseHeaders(headers.toString());
  const record: Record<string, string> = {};
  for (const [name, values] of headers) record[name] = values[0] ?? '';
  return record;
}

/** The client's message as it is inside: where its headers are in the bytes that came. */
interface RawMessage {
  readonly _msg?: { readonly hdr?: number };
  readonly _rdata?: Uint8Array;
}

/**
 * The headers of a received message, read from its bytes: the client's own decoding compares each name with all
 * before it. Should the client keep its bytes elsewhere one day, its decoding is used; a test compares the two.
 */
export function headersOf(message: Msg): Readonly<Record<string, string>> {
  const { _msg: raw, _rdata: data } = message as unknown as RawMessage;
  const length = raw?.hdr;
  if (length === undefined || data === undefined) return fromNatsHeaders(message.headers);
  if (length <= 0) return none;
  return parseHeaders(Buffer.from(data.buffer, data.byteOffset, length).toString('utf8'));
}

/** Of the block of headers as it is on the wire: a line with the version (and status), then one each. */
function parseHeaders(text: string): Readonly<Record<string, string>> {
  const record: Record<string, string> = {};
  let start = text.indexOf('\r\n') + 2;
  while (start > 1 && start < text.length) {
    let end = text.indexOf('\r\n', start);
    if (end < 0) end = text.length;
    const colon = text.indexOf(':', start);
    if (colon >= start && colon < end) {
      const name = text.slice(start, colon);
      if (!Object.hasOwn(record, name)) record[name] = text.slice(colon + 1, end).trim();
    }
    start = end + 2;
  }
  return record;
}
