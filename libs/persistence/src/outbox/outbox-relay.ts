import { backoffDelayMs, errorMessage, PARTITIONS, type Clock } from '@flotilla/kernel';
import type { Pool, PoolClient } from 'pg';
import type { PersistenceLog } from '../log.ts';
import type { PersistenceMetrics } from '../metrics.ts';
import type { OutboxDispatcher } from './outbox-dispatcher.ts';
import type { OutboxLimits } from './outbox.options.ts';
import { OUTBOX_CHANNEL, type OutboxRow } from './outbox-row.ts';

export interface OutboxRelayOptions {
  readonly pool: Pool;
  readonly dispatcher: OutboxDispatcher;
  readonly limits: Required<OutboxLimits>;
  readonly clock: Clock;
  readonly log: PersistenceLog;
  readonly metrics: PersistenceMetrics;
}

/** The first of the two keys of the advisory locks by which replicas share the partitions. */
const LOCK_CLASS = 0x0f_1071;

/** Partitions that one replica relays at the same time: others are to find some too. */
const AT_ONCE = 4;

/**
 * The oldest unpublished message of each partition: one look into an index of each day for each, from the first
 * partition on that has any; mostly none has.
 */
export const OLDEST_UNPUBLISHED = `
  SELECT p.partition, extract(epoch FROM now() - o.created_at) * 1000 AS age_ms
    FROM generate_series(
      (SELECT partition FROM outbox WHERE published_at IS NULL ORDER BY partition, position LIMIT 1), ${PARTITIONS - 1}
    ) AS p (partition)
   CROSS JOIN LATERAL (
     SELECT created_at FROM outbox
      WHERE outbox.partition = p.partition AND published_at IS NULL
      ORDER BY position LIMIT 1
   ) AS o`;

export const TO_RELAY = 'SELECT DISTINCT partition FROM outbox WHERE published_at IS NULL AND relay';

/**
 * Finds committed messages that nobody publishes: their process died, had no room, or has no publisher. Replicas share
 * them by partition, one replica to a partition at a time, so that messages of a key keep their order.
 */
export class OutboxRelay {
  readonly #options: OutboxRelayOptions;
  readonly #stop = new AbortController();
  #wake = new AbortController();
  #client: PoolClient | undefined;
  readonly #running = new Map<number, Promise<void>>();
  #loop: Promise<void> | undefined;
  #failures = 0;
  /** Whether partitions were left that are due. */
  #more = false;

  constructor(options: OutboxRelayOptions) {
    this.#options = options;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  /** Looks for messages now. */
  wake(): void {
    this.#wake.abort();
  }

  /** Resolves when the relay has let go of its connection. Close the dispatcher first: it may be waited for. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake.abort();
    await this.#loop;
    await Promise.all(this.#running.values());
    this.#disconnect();
  }

  get #stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  async #run(): Promise<void> {
    const { clock, limits, log } = this.#options;
    while (!this.#stopped) {
      let delayMs = limits.relayPollMs;
      try {
        await this.#look();
        this.#failures = 0;
      } catch (error) {
        this.#failures += 1;
        delayMs = backoffDelayMs(this.#failures, { initialMs: 500, maxMs: 30_000 });
        log.warn(`The outbox relay failed: ${errorMessage(error)}. Trying again in ${delayMs} ms.`);
        this.#disconnect(error);
      }
      if (this.#stopped) return;
      await clock.sleep(delayMs, this.#wake.signal);
      if (this.#wake.signal.aborted) this.#wake = new AbortController();
    }
  }

  async #look(): Promise<void> {
    const client = await this.#connect();
    // Read first: what is left to the relay from now on is for the next time.
    const spilled = this.#options.dispatcher.spilled;
    const [oldest, flagged] = await Promise.all([
      client.query<{ partition: number; age_ms: string }>(OLDEST_UNPUBLISHED),
      client.query<{ partition: number }>(TO_RELAY),
    ]);
    const ages = oldest.rows.map((row) => Number(row.age_ms));
    this.#options.metrics.outboxOldestUnpublished?.(Math.max(0, ...ages));
    const due = new Set([...spilled.keys(), ...flagged.rows.map(({ partition }) => partition)]);
    for (const row of oldest.rows) {
      if (Number(row.age_ms) > this.#options.limits.relayGraceMs) due.add(row.partition);
    }
    // From a random one on, so that replicas that look at the same time do not all begin with the same.
    const shift = Math.floor(Math.random() * PARTITIONS);
    const order = [...due].sort((a, b) => ((a + shift) % PARTITIONS) - ((b + shift) % PARTITIONS));
    for (const partition of order) {
      if (this.#running.has(partition)) continue;
      if (this.#running.size >= AT_ONCE) {
        this.#more = true;
        return;
      }
      this.#running.set(partition, this.#relay(client, partition));
    }
    this.#more = false;
  }

  /** Relays what is due of one partition, unless another replica does. */
  async #relay(client: PoolClient, partition: number): Promise<void> {
    try {
      const { rows } = await client.query<{ locked: boolean }>(
        'SELECT pg_try_advisory_lock($1, $2) AS locked',
        [LOCK_CLASS, partition],
      );
      if (rows[0]?.locked !== true) return;
      try {
        await this.#drain(client, partition);
      } finally {
        await client.query('SELECT pg_advisory_unlock($1, $2)', [LOCK_CLASS, partition]);
      }
    } catch (error) {
      if (this.#stopped) return;
      this.#options.log.warn(`Relaying partition ${partition} of the outbox failed: ${errorMessage(error)}`);
      if (this.#client === client) this.#disconnect(error);
    } finally {
      this.#running.delete(partition);
      if (this.#more) this.wake();
    }
  }

  async #drain(client: PoolClient, partition: number): Promise<void> {
    const { dispatcher, limits } = this.#options;
    let after = '0';
    while (!this.#stopped) {
      const spilled = dispatcher.spilled.get(partition);
      const read = await this.#read(client, partition, after, spilled !== undefined);
      const orphans = read.filter(({ position }) => !dispatcher.holds(position));
      if (orphans.length === 0 && read.length < limits.relayBatch) {
        if (spilled !== undefined && after === '0') dispatcher.caughtUp(partition, spilled);
        if (spilled === undefined || after === '0') return;
        // Rows may have been left to the relay behind the place where it began: once more from the start.
        after = '0';
        continue;
      }
      await dispatcher.adopt(orphans);
      after = read.at(-1)?.position ?? '0';
      if (read.length < limits.relayBatch) after = '0';
    }
  }

  async #read(client: PoolClient, partition: number, after: string, all: boolean): Promise<OutboxRow[]> {
    const { limits } = this.#options;
    const { rows } = await client.query<{
      position: string;
      id: string;
      key: string;
      subject: string;
      headers: Record<string, string>;
      body: string;
      created_at: Date;
    }>(
      `SELECT position, id, key, subject, headers, body, created_at
         FROM outbox
        WHERE partition = $1 AND published_at IS NULL AND position > $2
          AND ($3 OR relay OR created_at < now() - make_interval(secs => $4 / 1000.0))
          AND (refused_at IS NULL OR refused_at < now() - make_interval(secs => $5 / 1000.0))
        ORDER BY position LIMIT $6`,
      [partition, after, all, limits.relayGraceMs, limits.refusedRetryMs, limits.relayBatch],
    );
    return rows.map(({ position, id, key, subject, headers, body, created_at }) => ({
      position,
      partition,
      message: { id, key, subject, headers, body },
      writtenAtMs: created_at.getTime(),
    }));
  }

  async #connect(): Promise<PoolClient> {
    if (this.#client !== undefined) return this.#client;
    const client = await this.#options.pool.connect();
    client.on('notification', () => this.wake());
    client.on('error', (error) => {
      if (this.#client === client) this.#disconnect(error);
    });
    this.#client = client;
    await client.query(`LISTEN ${OUTBOX_CHANNEL}`);
    return client;
  }

  /** Its advisory locks go with the connection, which therefore never returns to the pool. */
  #disconnect(error?: unknown): void {
    const client = this.#client;
    this.#client = undefined;
    client?.release(error instanceof Error ? error : true);
  }
}
