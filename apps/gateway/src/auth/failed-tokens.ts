import { isIPv6 } from 'node:net';
import type { Clock } from '@flotilla/kernel';

/** The addresses that are remembered; beyond them, the one whose failures began first is forgotten. */
const MAX_ADDRESSES = 10_000;

interface Failures {
  readonly sinceMs: number;
  count: number;
}

/**
 * Counts, per address, tokens that were not good. Checking a signature costs more than anything else at the edge: an
 * address that has sent too many bad ones within a window gets no further ones checked until it has passed.
 */
export class FailedTokens {
  readonly #limits: { readonly rateLimitMax: number; readonly rateLimitWindowMs: number };
  readonly #clock: Clock;
  readonly #addresses = new Map<string, Failures>();

  constructor(limits: { readonly rateLimitMax: number; readonly rateLimitWindowMs: number }, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Milliseconds until tokens of the address are checked again; 0: they are. */
  blockedForMs(address: string): number {
    const failures = this.#addresses.get(address);
    if (!failures) return 0;
    const leftMs = failures.sinceMs + this.#limits.rateLimitWindowMs - this.#clock.monotonicMs();
    if (leftMs <= 0) {
      this.#addresses.delete(address);
      return 0;
    }
    return failures.count >= this.#limits.rateLimitMax ? leftMs : 0;
  }

  noteFailure(address: string): void {
    const failures = this.#addresses.get(address);
    if (failures && this.#clock.monotonicMs() - failures.sinceMs < this.#limits.rateLimitWindowMs) {
      failures.count++;
      return;
    }
    this.#addresses.delete(address);
    if (this.#addresses.size >= MAX_ADDRESSES) {
      // A map keeps the order in which keys came.
      for (const first of this.#addresses.keys()) {
        this.#addresses.delete(first);
        break;
      }
    }
    this.#addresses.set(address, { sinceMs: this.#clock.monotonicMs(), count: 1 });
  }
}

/** What one caller has of an address: of IPv6 the first 64 bits, for the rest is theirs to choose. */
export function callerAddress(ip: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(ip)) return ip;
  const [head = '', tail] = (ip.split('%', 1)[0] ?? ip).split('::');
  const first = head === '' ? [] : head.split(':');
  const last = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - first.length - last.length);
  const groups = [...first, ...Array.from({ length: zeros }, () => '0'), ...last];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}
