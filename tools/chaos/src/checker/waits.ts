import type { Findings } from './report.ts';
import type { Snapshot } from './snapshot.ts';

interface WaitingRow {
  readonly about: string;
  readonly what: string;
}

/** What should have happened by now, by the service's database; `$1` is how late it may be, in milliseconds. */
const timers: Readonly<Record<string, readonly string[]>> = {
  orders: [
    `SELECT id AS about, format('the timer of %s at %s was due at %s', saga, step, due_at) AS what, due_at AS due
       FROM saga_instances WHERE due_at IS NOT NULL`,
  ],
  shipping: [
    `SELECT order_id::text AS about, format('its shipment is %s, its next step was due at %s', status, due_at) AS what,
            due_at AS due FROM shipments WHERE due_at IS NOT NULL`,
    `SELECT order_id::text AS about, format('the parcel of return %s was due at %s', return_id, due_at) AS what,
            due_at AS due FROM return_parcels WHERE due_at IS NOT NULL`,
  ],
  inventory: [
    `SELECT order_id::text AS about, format('its reservation should have been looked at at %s', look_at) AS what,
            look_at AS due FROM reservations WHERE state = 'reserved' AND look_at IS NOT NULL`,
  ],
  notifications: [
    `SELECT order_id::text AS about, format('the message "%s" was to be sent at %s', fact, next_attempt_at) AS what,
            next_attempt_at AS due FROM mailbox WHERE status = 'queued'`,
  ],
};

const SCHEDULES = `
  SELECT name AS about, format('the schedule was due at %s', run_at) AS what, run_at AS due
    FROM schedules WHERE run_at IS NOT NULL`;

/** What nothing but a person, or nothing at all, will move on. */
const waits: Readonly<Record<string, readonly string[]>> = {
  orders: [
    `SELECT id AS about, format('its process %s is parked at %s: %s', saga, step, progress->'parked'->>'message') AS what
       FROM saga_instances WHERE status = 'parked'`,
    `SELECT id AS about, format('its process %s is %s at %s, without a timer', saga, status, step) AS what
       FROM saga_instances WHERE status IN ('running', 'compensating') AND due_at IS NULL`,
  ],
  payments: [
    `SELECT order_id::text AS about, format('its payment is %s, with %s under way and %s being paid back', status,
              coalesce(in_flight, 'nothing'), refunding_minor) AS what
       FROM payments WHERE status = 'pending' OR in_flight IS NOT NULL OR refunding_minor > 0`,
    `SELECT order_id AS about, format('our books and the provider''s differ: %s', kind) AS what
       FROM book_differences WHERE resolved_at IS NULL`,
  ],
  notifications: [
    `SELECT order_id::text AS about, format('the message "%s" could not be sent: %s', fact, last_error) AS what
       FROM mailbox WHERE status = 'failed'`,
  ],
};

export async function checkWaits(
  service: string,
  database: Snapshot,
  overdueMs: number,
  findings: Findings,
): Promise<void> {
  for (const sql of [...(timers[service] ?? []), SCHEDULES]) {
    const [all] = await database.rows<{ count: string }>(`SELECT count(*) FROM (${sql}) AS t`);
    findings.count('timers', Number(all?.count ?? 0));
    const overdue = database.stream<WaitingRow>(
      `SELECT about, what FROM (${sql}) AS t WHERE due < now() - interval '${Math.round(overdueMs)} milliseconds' ORDER BY due`,
    );
    for await (const { about, what } of overdue) findings.violate('timers', about, what);
  }
  for (const sql of waits[service] ?? []) {
    for await (const { about, what } of database.stream<WaitingRow>(sql))
      findings.violate('nothing waits for ever', about, what);
  }
}
