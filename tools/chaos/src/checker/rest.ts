import type { NatsConnection } from '@nats-io/nats-core';
import { Client } from 'pg';
import type { CheckAccess } from './access.ts';
import { readTopology } from './broker.ts';

const LOOK_EVERY_MS = 500;
/** Between an acknowledgement and what follows from it nothing may be seen for a moment. */
const QUIET_LOOKS = 3;

const open: Readonly<Record<string, string>> = {
  orders: `SELECT count(*) FROM saga_instances WHERE status IN ('running', 'compensating')`,
  payments: `SELECT count(*) FROM payments WHERE in_flight IS NOT NULL OR status = 'pending'`,
  notifications: `SELECT count(*) FROM mailbox WHERE status = 'queued'`,
};
const UNPUBLISHED = 'SELECT count(*) FROM outbox WHERE published_at IS NULL AND refused_at IS NULL';

/** Waits until nothing is under way, or the time is over; what is still under way then. */
export async function awaitRest(
  access: CheckAccess,
  nats: NatsConnection,
  withinMs: number,
): Promise<string[]> {
  const { databases, onProgress } = access;
  const clients = await Promise.all(
    Object.entries(databases).map(async ([service, url]) => {
      const client = new Client({
        connectionString: url,
        application_name: 'checker',
        connectionTimeoutMillis: 10_000,
        statement_timeout: 60_000,
      });
      await client.connect();
      return { service, client };
    }),
  );
  try {
    const untilMs = performance.now() + withinMs;
    for (let quiet = 0; ;) {
      const busy: string[] = [];
      for (const { service, client } of clients) {
        for (const [what, sql] of [
          ['open', open[service]],
          ['unpublished', UNPUBLISHED],
        ] as const) {
          if (sql === undefined) continue;
          const { rows } = await client.query<{ count: string }>(sql);
          const count = Number(rows[0]?.count ?? 0);
          if (count > 0) busy.push(`${service}: ${count} ${what}`);
        }
      }
      for (const { stream, consumers } of await readTopology(nats)) {
        const waiting = consumers.reduce((sum, each) => sum + each.num_pending + each.num_ack_pending, 0);
        if (waiting > 0) busy.push(`${stream.config.name}: ${waiting} messages`);
      }
      quiet = busy.length === 0 ? quiet + 1 : 0;
      if (quiet >= QUIET_LOOKS || performance.now() >= untilMs) return busy;
      if (busy.length > 0) onProgress?.(`Under way: ${busy.join(', ')}`);
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  } finally {
    await Promise.all(clients.map(({ client }) => client.end()));
  }
}
