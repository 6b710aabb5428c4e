import { LengthFramer, type Frame, type Protocol } from './frames.ts';

/** The number in the place of a protocol version that asks for something else, and after which there is no type yet. */
const REQUESTS: ReadonlySet<number> = new Set([80_877_102, 80_877_103, 80_877_104]);

/**
 * Postgres' protocol, version 3 (https://www.postgresql.org/docs/current/protocol-message-formats.html), without TLS:
 * each message is a letter and its length, but the first of a client, which has no letter.
 */
export const postgresProtocol: Protocol = {
  name: 'postgres',
  up: () => {
    let started = false;
    return new LengthFramer((bytes) => {
      if (!started) {
        if (bytes.length < 8) return undefined;
        const length = bytes.readInt32BE(0);
        if (bytes.length >= length && !REQUESTS.has(bytes.readInt32BE(4))) started = true;
        return { kind: 'startup', length };
      }
      return typed(bytes);
    });
  },
  down: () => new LengthFramer(typed),
};

function typed(bytes: Buffer): { kind: string; length: number } | undefined {
  if (bytes.length < 5) return undefined;
  return { kind: String.fromCharCode(bytes[0] ?? 0), length: bytes.readInt32BE(1) + 1 };
}

/** Whether a client asks for the commit of its transaction: a simple query, or a statement that is parsed. */
export function asksForCommit({ kind, bytes }: Frame): boolean {
  if (kind === 'Q') return isCommit(bytes.toString('latin1', 5, 40));
  if (kind !== 'P') return false;
  const nameEnd = bytes.indexOf(0, 5);
  return nameEnd >= 0 && isCommit(bytes.toString('latin1', nameEnd + 1, nameEnd + 40));
}

/** Whether the server says that a transaction is committed. */
export function saysCommitted({ kind, bytes }: Frame): boolean {
  return kind === 'C' && bytes.toString('latin1', 5, bytes.length - 1) === 'COMMIT';
}

function isCommit(text: string): boolean {
  return /^\s*commit\b/i.test(text);
}
