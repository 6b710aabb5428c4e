import { FlotillaError } from './errors.ts';

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
type Unit = keyof typeof unitMs;

/**
 * Milliseconds of a duration as people write it: `250ms`, `5s`, `1.5m`, `2h`, `7d`; a bare number is
 * milliseconds. Throws `INVALID_DURATION` on anything else, and on a negative or infinite length.
 */
export function parseDurationMs(text: string | number): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*$/.exec(String(text));
  if (!match) {
    throw new FlotillaError(
      'INVALID_DURATION',
      `"${text}" is not a duration: write a number and a unit, for example 250ms, 5s, 1.5m, 2h or 7d`,
      { retry: 'never' },
    );
  }
  return Number(match[1]) * unitMs[(match[2] ?? 'ms') as Unit];
}

/** A duration for people, in the largest unit that keeps it readable: `12ms`, `3.4s`, `2m 5s`, `3h 20m`. */
export function formatDurationMs(durationMs: number): string {
  if (durationMs < 1_000) return `${Math.round(durationMs)}ms`;
  if (durationMs < 60_000) return `${(durationMs / 1_000).toFixed(1)}s`;
  const seconds = Math.round(durationMs / 1_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m ${seconds % 60}s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)}h ${minutes % 60}m`;
}
