import { decodeAnswer, decodeEnvelope, envelopeHeader, type Envelope } from '@flotilla/contracts-protocol';
import type { IncomingMessage } from './broker.ts';
import { UndecodableMessageError } from './messaging.errors.ts';

const decoder = new TextDecoder('utf-8', { fatal: true });

/** UTF-8 as text, strictly. Buffer's own decoding is several times as fast, but puts U+FFFD where it is not valid. */
function textOf({ buffer, byteOffset, byteLength }: Uint8Array): string {
  const bytes = Buffer.from(buffer, byteOffset, byteLength);
  const text = bytes.toString('utf8');
  return text.includes('\ufffd') || text.charCodeAt(0) === 0xfeff ? decoder.decode(bytes) : text;
}

/** A message whose envelope is decoded and whose body is read on demand. */
export class DecodedMessage implements IncomingMessage {
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly envelope: Envelope;
  readonly body: Uint8Array;

  constructor(
    subject: string,
    headers: Readonly<Record<string, string>>,
    body: Uint8Array,
    envelope: Envelope,
  ) {
    this.subject = subject;
    this.headers = headers;
    this.body = body;
    this.envelope = envelope;
  }

  json(): unknown {
    if (this.body.length === 0) return undefined;
    try {
      return JSON.parse(textOf(this.body));
    } catch (error) {
      throw new UndecodableMessageError(this.subject, error);
    }
  }
}

/** Decodes the envelope; throws `MalformedEnvelopeError`. */
export function decodeMessage(
  subject: string,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array,
): DecodedMessage {
  return new DecodedMessage(subject, headers, body, decodeEnvelope(headerLookup(headers)));
}

/** Decodes an answer, which need not repeat what the headers of its request say; throws `MalformedEnvelopeError`. */
export function decodeReply(
  subject: string,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array,
  request: Readonly<Record<string, string>>,
): DecodedMessage {
  return new DecodedMessage(subject, headers, body, decodeAnswer(headerLookup(headers), request));
}

/** Some clients write header names in another case: looked at only when the plain name is not there. */
function headerLookup(headers: Readonly<Record<string, string>>): (name: string) => string | undefined {
  if (envelopeHeader.id in headers) return (name) => headers[name];
  const lower: Record<string, string> = {};
  for (const name in headers) lower[name.toLowerCase()] = headers[name] as string;
  return (name) => lower[name];
}
