import { randomUUID } from 'node:crypto';
import { Pool } from 'pg';
import { answerCalls } from '../../fixtures/driver.ts';
import type { RunSagas } from '../../fixtures/owner/owner.module.ts';
import { ready } from '../../fixtures/quotes.ts';
import { closedLoop } from '../../load.ts';
import { loadPeer } from '../load-peer.ts';

/** The part of the SDK that is used here. */
interface Sdk {
  readonly DBOS: {
    setConfig(config: {
      name: string;
      systemDatabaseUrl: string;
      logLevel: string;
      systemDatabasePoolSize: number;
    }): void;
    launch(): Promise<void>;
    registerWorkflow<A extends unknown[], R>(
      work: (...args: A) => Promise<R>,
      config: { name: string },
    ): (...args: A) => Promise<R>;
    runStep<R>(step: () => Promise<R>, config: { name: string }): Promise<R>;
  };
}

const { DBOS } = loadPeer<Sdk>('@dbos-inc/dbos-sdk');
/** As many connections as the services of the chassis have together, at each of its two databases. */
const POOL = 20;

const pool = new Pool({ connectionString: process.env['APP_DATABASE_URL'], max: POOL });
await pool.query(`
  CREATE TABLE IF NOT EXISTS entries (
    entry_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    transfer_id uuid NOT NULL,
    step smallint NOT NULL,
    amount_minor bigint NOT NULL,
    reference text NOT NULL
  )`);
await pool.query('CREATE INDEX IF NOT EXISTS entries_transfer ON entries (transfer_id)');

const transfer = DBOS.registerWorkflow(
  async (transferId: string, amountMinor: number, reference: string): Promise<string[]> => {
    const entries: string[] = [];
    for (const step of [1, 2, 3, 4]) {
      const entryId = await DBOS.runStep(
        async () => {
          const { rows } = await pool.query<{ entry_id: string }>(
            'INSERT INTO entries (transfer_id, step, amount_minor, reference) VALUES ($1, $2, $3, $4) RETURNING entry_id',
            [transferId, step, amountMinor, reference],
          );
          return rows[0]?.entry_id ?? '';
        },
        { name: `record-${step}` },
      );
      entries.push(entryId);
    }
    return entries;
  },
  { name: 'transfer' },
);

DBOS.setConfig({
  name: 'bench',
  systemDatabaseUrl: process.env['SYSTEM_DATABASE_URL'] ?? '',
  systemDatabasePoolSize: POOL,
  logLevel: 'error',
});
await DBOS.launch();
answerCalls({
  runSagas: (options: RunSagas) =>
    closedLoop({
      ...options,
      operation: async (at) => {
        const entries = await transfer(randomUUID(), 1_000 + at, `transfer ${at}`);
        if (entries.length !== 4) throw new Error(`A workflow has made ${entries.length} entries`);
      },
    }),
});
ready();
