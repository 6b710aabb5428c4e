import type { NatsConnection } from '@nats-io/nats-core';
import { UnsupportedServerError } from '../messaging.errors.ts';

/** The oldest NATS server that Flotilla runs on. */
export const OLDEST_SERVER = '2.12.7';

/** Throws {@link UnsupportedServerError} when `version` is older than {@link OLDEST_SERVER} or no version at all. */
export function assertServerVersion(version: string): void {
  const actual = parse(version);
  const oldest = parse(OLDEST_SERVER);
  if (actual === undefined || oldest === undefined) throw new UnsupportedServerError(version, OLDEST_SERVER);
  for (let i = 0; i < 3; i++) {
    const difference = (actual.numbers[i] as number) - (oldest.numbers[i] as number);
    if (difference > 0) return;
    if (difference < 0) throw new UnsupportedServerError(version, OLDEST_SERVER);
  }
  // A pre-release of the oldest version comes before it.
  if (actual.preRelease) throw new UnsupportedServerError(version, OLDEST_SERVER);
}

/** Checks the server that a connection is to. */
export function assertServerOf(connection: NatsConnection): void {
  assertServerVersion(connection.info?.version ?? '');
}

function parse(version: string): { numbers: readonly number[]; preRelease: boolean } | undefined {
  const match = /^v?(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(?:\+.*)?$/.exec(version.trim());
  if (match === null) return undefined;
  return {
    numbers: [Number(match[1]), Number(match[2]), Number(match[3])],
    preRelease: match[4] !== undefined,
  };
}
