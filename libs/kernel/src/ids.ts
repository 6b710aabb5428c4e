import { createHash, randomFillSync } from 'node:crypto';

let lastMs = 0;
let sequence = 0;

// Random bytes are drawn in bulk: a draw costs more than an id.
const pool = Buffer.alloc(4_096);
let drawn = pool.length;
let fill: (bytes: Buffer) => unknown = randomFillSync;

/** Draws `count` random bytes (cryptographic, up to 32): where they begin in the pool, valid until the next call. */
function draw(count: number): number {
  if (drawn + count > pool.length) {
    fill(pool);
    drawn = 0;
  }
  drawn += count;
  return drawn - count;
}

/** `count` random bytes (cryptographic, up to 32) as hexadecimal text, twice as long. */
export function randomHex(count: number): string {
  const at = draw(count);
  return pool.toString('hex', at, at + count);
}

/**
 * A new UUIDv7 (RFC 9562): the first 48 bits are the time in milliseconds, the next 12 a counter within
 * it, so that ids of one process sort in the order they were made; the rest is random.
 */
export function newId(nowMs: number = Date.now()): string {
  if (nowMs > lastMs) {
    lastMs = nowMs;
    sequence = 0;
  } else if (++sequence > 0xfff) {
    // The counter is full: borrow the next millisecond rather than lose the order.
    lastMs += 1;
    sequence = 0;
  }
  const at = draw(16);
  pool.writeUIntBE(lastMs, at, 6);
  pool[at + 6] = 0x70 | (sequence >> 8);
  pool[at + 7] = sequence & 0xff;
  pool[at + 8] = 0x80 | ((pool[at + 8] ?? 0) & 0x3f);
  return formatUuid(pool, at);
}

/**
 * The same UUID for the same parts, always and everywhere (UUIDv8 over SHA-256). For messages that are
 * sent again after a crash: the second sending has the id of the first and is recognised.
 */
export function deterministicId(...parts: readonly (string | number)[]): string {
  const hash = createHash('sha256');
  // The length before each part keeps ('ab', 'c') apart from ('a', 'bc').
  for (const part of parts) hash.update(`${String(part).length}:${part};`);
  const bytes = hash.digest();
  bytes[6] = 0x80 | ((bytes[6] ?? 0) & 0x0f);
  bytes[8] = 0x80 | ((bytes[8] ?? 0) & 0x3f);
  return formatUuid(bytes, 0);
}

/**
 * From now on the random part of ids comes from `source`, and nothing is known of ids made before: for a simulation that
 * must repeat itself. Without `source` it is the machine's randomness again.
 */
export function simulateIds(source?: (bytes: Uint8Array) => void): void {
  fill = source ?? randomFillSync;
  drawn = pool.length;
  lastMs = 0;
  sequence = 0;
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether the text is a UUID of any version. */
export function isUuid(text: string): boolean {
  return uuidPattern.test(text);
}

/** The time, in milliseconds since the epoch, that a UUIDv7 was made at; undefined for other ids. */
export function timeOfId(id: string): number | undefined {
  if (!isUuid(id) || id[14] !== '7') return undefined;
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

function formatUuid(bytes: Buffer, at: number): string {
  const hex = bytes.toString('hex', at, at + 16);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
