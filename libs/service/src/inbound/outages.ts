import { errorCode } from '@flotilla/kernel';

/** What the libraries of the chassis, Node and Postgres say when the database or the broker is away or overwhelmed. */
const OUTAGES: ReadonlySet<string> = new Set([
  'DATABASE_UNAVAILABLE',
  'COMMIT_OUTCOME_UNKNOWN',
  'UNIT_OF_WORK_OVERLOADED',
  'PERSISTENCE_CLOSED',
  'BROKER_UNAVAILABLE',
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
]);

/** SQLSTATE classes: 08 connection exception, 57P operator intervention (shutdown, starting up), 53 resources. */
const OUTAGE_STATES = /^(?:08|57P|53)[0-9A-Z]{2,3}$/;

/**
 * Whether an error means that the service's own database or broker is away: the message is not to blame, and is
 * handled when that is back, however long it takes.
 */
export function isOutage(error: unknown): boolean {
  for (let each = error, depth = 0; each !== undefined && each !== null && depth < 5; depth++) {
    const code = errorCode(each);
    if (OUTAGES.has(code) || OUTAGE_STATES.test(code)) return true;
    each = each instanceof Error ? each.cause : undefined;
  }
  return false;
}
