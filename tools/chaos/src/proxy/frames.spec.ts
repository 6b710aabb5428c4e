import type { Framer } from './frames.ts';
import { acknowledges, natsProtocol, saysStored, storesMessage, subjectOf } from './nats-frames.ts';
import { asksForCommit, postgresProtocol, saysCommitted } from './postgres-frames.ts';

/** A message of Postgres with a type. */
function typed(kind: string, body: string): Buffer {
  const text = Buffer.from(body, 'latin1');
  const head = Buffer.alloc(5);
  head.write(kind, 0, 'latin1');
  head.writeInt32BE(text.length + 4, 1);
  return Buffer.concat([head, text]);
}

/** The first message of a client, or a request in its place. */
function untyped(version: number, body: string): Buffer {
  const text = Buffer.from(body, 'latin1');
  const head = Buffer.alloc(8);
  head.writeInt32BE(text.length + 8, 0);
  head.writeInt32BE(version, 4);
  return Buffer.concat([head, text]);
}

/** Feeds the bytes in pieces of `size`; the frames and all their bytes. */
function cut(framer: Framer, bytes: Buffer, size: number): { kinds: string[]; all: Buffer } {
  const kinds: string[] = [];
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    for (const frame of framer.push(bytes.subarray(at, at + size))) {
      kinds.push(frame.kind);
      parts.push(Buffer.from(frame.bytes));
    }
  }
  return { kinds, all: Buffer.concat(parts) };
}

const SIZES = [1, 2, 7, 64, 10_000];

describe('Postgres', () => {
  const client = Buffer.concat([
    untyped(80_877_103, ''),
    untyped(196_608, 'user\0orders\0\0'),
    typed('p', 'secret\0'),
    typed('Q', 'BEGIN\0'),
    typed('P', 'name\0INSERT INTO inbox\0\0\0'),
    typed('Q', 'COMMIT\0'),
  ]);

  it.each(SIZES)('finds the same frames in pieces of %d bytes, and loses none', (size) => {
    const { kinds, all } = cut(postgresProtocol.up(), client, size);
    expect(kinds).toEqual(['startup', 'startup', 'p', 'Q', 'P', 'Q']);
    expect(all.equals(client)).toBe(true);
  });

  it('tells a commit that is asked for and one that is done', () => {
    const up = (bytes: Buffer): boolean => asksForCommit({ kind: String.fromCharCode(bytes[0] ?? 0), bytes });
    expect(up(typed('Q', 'COMMIT\0'))).toBe(true);
    expect(up(typed('Q', '  commit;\0'))).toBe(true);
    expect(up(typed('P', '\0COMMIT\0\0\0'))).toBe(true);
    expect(up(typed('Q', 'SELECT 1 -- COMMIT\0'))).toBe(false);
    expect(up(typed('P', 'COMMIT\0SELECT 1\0\0\0'))).toBe(false);
    const down = (bytes: Buffer): boolean =>
      saysCommitted({ kind: String.fromCharCode(bytes[0] ?? 0), bytes });
    expect(down(typed('C', 'COMMIT\0'))).toBe(true);
    expect(down(typed('C', 'ROLLBACK\0'))).toBe(false);
    expect(down(typed('C', 'INSERT 0 1\0'))).toBe(false);
  });
});

describe('NATS', () => {
  const client = Buffer.from(
    'CONNECT {"verbose":false}\r\nPING\r\nSUB _INBOX.x.* 1\r\n' +
      'HPUB evt.orders.OrderPlaced.v1.2.order-1 _INBOX.x.7 23 34\r\nNATS/1.0\r\nce-id: 12\r\n\r\n{"a":"\r\n"}x\r\n' +
      'PUB $JS.ACK.S.C.1.2.3.4.0 0\r\n\r\nPUB $JS.ACK.S.C.1.2.3.4.0 4\r\n+WPI\r\n',
    'latin1',
  );

  it.each(SIZES)('finds the same frames in pieces of %d bytes, and loses none', (size) => {
    const { kinds, all } = cut(natsProtocol.up(), client, size);
    expect(kinds).toEqual(['CONNECT', 'PING', 'SUB', 'HPUB', 'PUB', 'PUB']);
    expect(all.equals(client)).toBe(true);
  });

  it('tells what is stored, acknowledged and worked on', () => {
    const frames = natsProtocol.up().push(client);
    expect(frames.map(storesMessage)).toEqual([false, false, false, true, false, false]);
    expect(frames.map(acknowledges)).toEqual([false, false, false, false, true, false]);
    expect(frames.map(subjectOf)[3]).toBe('evt.orders.OrderPlaced.v1.2.order-1');
    const answer = (body: string): boolean =>
      saysStored({ kind: 'MSG', bytes: Buffer.from(`MSG _INBOX.x.7 1 ${body.length}\r\n${body}\r\n`) });
    expect(answer('{"stream":"EVT_orders", "seq":4}')).toBe(true);
    expect(answer('{"error":{"code":503}}')).toBe(false);
  });
});
