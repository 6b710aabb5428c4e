import type { NatsConnection } from '@nats-io/nats-core';
import { systemClock } from '@flotilla/kernel';
import { runChecks, type CheckResult } from './checks.ts';
import { loadFacts } from './load-facts.ts';

export interface VerifyResult {
  readonly ok: boolean;
  readonly checks: readonly CheckResult[];
  readonly waitedMs: number;
}

const ROUND_MS = 500;
/** A difference that stays when nothing is under way any more, seen so often, is one. */
const QUIET_ROUNDS = 3;

/** Compares until everything fits, or nothing is under way and it still does not, or the time is over. */
export async function verifyFleet(
  databases: Readonly<Record<string, string>>,
  nats: NatsConnection,
  timeoutMs: number,
  onProgress: (text: string) => void,
): Promise<VerifyResult> {
  const start = systemClock.monotonicMs();
  for (let quiet = 0; ;) {
    const roundMs = systemClock.monotonicMs();
    const checks = runChecks(await loadFacts(databases, nats));
    const now = systemClock.monotonicMs();
    const failed = checks.filter(({ ok }) => !ok);
    quiet = checks.some(({ underWay }) => underWay) ? 0 : quiet + 1;
    const waitedMs = now - start;
    if (failed.length === 0 || quiet >= QUIET_ROUNDS || waitedMs >= timeoutMs) {
      return { ok: failed.length === 0, checks, waitedMs };
    }
    onProgress(
      `Waiting: ${failed.map(({ name, differences }) => `${name} (${differences.length})`).join('; ')}`,
    );
    await systemClock.sleep(Math.max(ROUND_MS, (now - roundMs) * 2));
  }
}
