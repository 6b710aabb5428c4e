/** How many partitions every durable subject is spread over. Part of the wire format: it never changes. */
export const PARTITIONS = 16;

/**
 * The partition, 0 to 15, of an aggregate id or key: 32-bit FNV-1a over its UTF-8 bytes, folded to the
 * number of partitions. Any language can compute it; see docs/wire.md.
 */
export function partitionOf(key: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(key)) {
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  // FNV's low bits are its weakest: fold the high half in.
  return ((hash ^ (hash >>> 16)) >>> 0) % PARTITIONS;
}
