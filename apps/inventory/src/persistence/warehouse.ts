import { FlotillaError } from '@flotilla/kernel';
import { UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';
import type { Line, ReturnedLine } from '../domain/lines.ts';
import type { Reservation } from '../domain/reservation.ts';

/** Where the pieces of one SKU are. */
export interface Levels {
  readonly sku: string;
  readonly onHand: number;
  readonly reserved: number;
  readonly shipped: number;
  readonly received: number;
  readonly restocked: number;
}

/** A SKU of which less is free than was asked for. */
export interface Shortage {
  readonly sku: string;
  readonly requested: number;
  readonly available: number;
}

/** Thrown when a reservation's lines are not in the stock they were taken from: the tables were changed by hand. */
export class StockMissingError extends FlotillaError {
  constructor(orderId: string, expected: number, moved: number) {
    super('STOCK_MISSING', `Order ${orderId} holds ${expected} SKUs, but only ${moved} of them are in stock`);
  }
}

// Numbers of pieces are safe integers by the tables' checks; the driver would give a bigint as text.
const LEVELS = `sku, on_hand::float8 AS "onHand", reserved::float8 AS reserved, shipped::float8 AS shipped,
  received::float8 AS received, restocked::float8 AS restocked`;

interface MoveRow {
  readonly state: Reservation['state'] | null;
  readonly skus: readonly string[] | null;
  readonly quantities: readonly number[] | null;
  readonly moved: number;
}

interface ReturnRow {
  readonly state: Reservation['state'];
  readonly skus: readonly string[];
  readonly quantities: readonly number[];
  readonly back: readonly {
    readonly key: string;
    readonly sku: string;
    readonly quantity: number;
    readonly damaged: boolean;
  }[];
}

/** What is known of an order when something of it comes back. */
export interface ShippedOrder {
  readonly reservation: Reservation;
  /** What came back before, by return key. */
  readonly back: ReadonlyMap<string, readonly ReturnedLine[]>;
}

/** A reservation whose time is over. */
export interface OverdueReservation {
  readonly orderId: string;
  readonly heldUntil: Date;
}

/**
 * The stock and reservation tables. Each method is one statement, whatever the number of lines: it makes the
 * change that the domain allows and returns what was there before, for the domain to say what that means. Callers
 * hold the locks of `stock-locks.ts`, so nobody else changes these rows meanwhile.
 */
@Injectable()
export class Warehouse {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /**
   * Reserves the lines if the order has no reservation yet, until `heldUntil` if that is given. After any shortage the
   * caller must throw, so that its unit of work takes back the lines that were not short. Answers until when the order's
   * reservation was held before, if it had one.
   */
  async reserve(
    orderId: string,
    lines: readonly Line[],
    heldUntil?: Date,
  ): Promise<{
    before: Reservation['state'] | undefined;
    heldBefore: Date | undefined;
    shortages: Shortage[];
  }> {
    const [row] = await this.unitOfWork.query<{
      before: Reservation['state'] | null;
      held_before: Date | null;
      shortages: Shortage[];
    }>(
      `WITH made AS (
         INSERT INTO reservations (order_id, state, skus, quantities, held_until, look_at)
         VALUES ($1, 'reserved', $2, $3, $4, $4)
         ON CONFLICT (order_id) DO NOTHING RETURNING order_id
       ), wanted AS MATERIALIZED (
         SELECT sku, quantity FROM made, unnest($2::text[], $3::bigint[]) AS line(sku, quantity)
       ), taken AS (
         UPDATE stock SET on_hand = on_hand - quantity, reserved = reserved + quantity
         FROM wanted WHERE stock.sku = wanted.sku AND on_hand >= quantity
         RETURNING stock.sku
       )
       SELECT before.state AS before, before.held_until AS held_before,
         coalesce((
           SELECT json_agg(json_build_object(
             'sku', sku,
             'requested', quantity,
             'available', coalesce((SELECT on_hand FROM stock WHERE stock.sku = wanted.sku), 0)
           ) ORDER BY sku)
           FROM wanted WHERE NOT EXISTS (SELECT FROM taken WHERE taken.sku = wanted.sku)
         ), '[]') AS shortages
       FROM (SELECT) AS always LEFT JOIN reservations AS before ON before.order_id = $1`,
      [orderId, lines.map(({ sku }) => sku), lines.map(({ quantity }) => quantity), heldUntil ?? null],
    );
    return {
      before: row?.before ?? undefined,
      heldBefore: row?.held_before ?? undefined,
      shortages: row?.shortages ?? [],
    };
  }

  /** Gives back what the order holds, or marks an order that holds nothing. Returns the reservation before. */
  async release(orderId: string, reason: string): Promise<Reservation | undefined> {
    return this.#move(
      orderId,
      `INSERT INTO reservations (order_id, state, skus, quantities, release_reason)
       VALUES ($1, 'released', '{}', '{}', $2)
       ON CONFLICT (order_id) DO UPDATE
       SET state = 'released', release_reason = excluded.release_reason, changed_at = now()
       WHERE reservations.state = 'reserved'`,
      'on_hand = on_hand + quantity, reserved = reserved - quantity',
      [reason],
    );
  }

  /** Moves what the order holds out of the warehouse. Returns the reservation before. */
  async ship(orderId: string): Promise<Reservation | undefined> {
    return this.#move(
      orderId,
      `UPDATE reservations SET state = 'shipped', changed_at = now() WHERE order_id = $1 AND state = 'reserved'`,
      'reserved = reserved - quantity, shipped = shipped + quantity',
      [],
    );
  }

  /**
   * Takes up to `limit` reservations whose time is over for this process: nobody else looks at them until `lookAgainAt`.
   * The oldest first.
   */
  async claimOverdue(now: Date, lookAgainAt: Date, limit: number): Promise<OverdueReservation[]> {
    return this.unitOfWork.query<OverdueReservation>(
      `UPDATE reservations SET look_at = $2
        WHERE order_id IN (
          SELECT order_id FROM reservations WHERE state = 'reserved' AND look_at <= $1
           ORDER BY look_at LIMIT $3 FOR UPDATE SKIP LOCKED)
       RETURNING order_id AS "orderId", held_until AS "heldUntil"`,
      [now, lookAgainAt, limit],
    );
  }

  /** The order is confirmed: its reservation is held for ever. */
  async holdForGood(orderId: string): Promise<void> {
    await this.unitOfWork.query('UPDATE reservations SET look_at = NULL WHERE order_id = $1', [orderId]);
  }

  /** The order's reservation and what came back of it; nobody else changes them before the unit of work ends. */
  async lockShipped(orderId: string): Promise<ShippedOrder | undefined> {
    const [row] = await this.unitOfWork.query<ReturnRow>(
      `SELECT state, skus, quantities::float8[] AS quantities,
         (SELECT coalesce(json_agg(json_build_object(
            'key', return_key, 'sku', line.sku, 'quantity', line.quantity, 'damaged', line.damaged)), '[]')
          FROM return_receipts, unnest(skus, quantities, damaged) AS line(sku, quantity, damaged)
          WHERE order_id = $1) AS back
       FROM reservations WHERE order_id = $1 FOR UPDATE`,
      [orderId],
    );
    if (!row) return undefined;
    const { state, skus, quantities, back } = row;
    return {
      reservation: { state, lines: skus.map((sku, at) => ({ sku, quantity: quantities[at] ?? 0 })) },
      back: Map.groupBy(back, ({ key }) => key),
    };
  }

  /** Notes what came back of an order, and puts on hand what can be sold again. */
  async takeBack(orderId: string, returnKey: string, lines: readonly ReturnedLine[]): Promise<void> {
    const [row] = await this.unitOfWork.query<{ moved: number; good: number }>(
      `WITH noted AS (
         INSERT INTO return_receipts (order_id, return_key, skus, quantities, damaged) VALUES ($1, $2, $3, $4, $5)
         RETURNING skus, quantities, damaged
       ), good AS (
         SELECT line.sku, sum(line.quantity) AS quantity
           FROM noted, unnest(skus, quantities, damaged) AS line(sku, quantity, damaged)
          WHERE NOT line.damaged GROUP BY line.sku
       ), moved AS (
         UPDATE stock SET on_hand = on_hand + quantity, restocked = restocked + quantity
         FROM good WHERE stock.sku = good.sku
         RETURNING stock.sku
       )
       SELECT (SELECT count(*)::int FROM moved) AS moved, (SELECT count(*)::int FROM good) AS good`,
      [
        orderId,
        returnKey,
        lines.map(({ sku }) => sku),
        lines.map(({ quantity }) => quantity),
        lines.map(({ damaged }) => damaged),
      ],
    );
    if (row && row.moved !== row.good) throw new StockMissingError(orderId, row.good, row.moved);
  }

  async #move(
    orderId: string,
    change: string,
    movement: string,
    parameters: readonly unknown[],
  ): Promise<Reservation | undefined> {
    const [row] = await this.unitOfWork.query<MoveRow>(
      `WITH changed AS (${change} RETURNING skus, quantities),
       moved AS (
         UPDATE stock SET ${movement}
         FROM changed, unnest(changed.skus, changed.quantities) AS line(sku, quantity)
         WHERE stock.sku = line.sku
         RETURNING stock.sku
       )
       SELECT before.state, before.skus, before.quantities::float8[] AS quantities,
         (SELECT count(*)::int FROM moved) AS moved
       FROM (SELECT) AS always LEFT JOIN reservations AS before ON before.order_id = $1`,
      [orderId, ...parameters],
    );
    if (!row || row.state === null) return undefined;
    const { state, skus, quantities } = row;
    const lines = (skus ?? []).map((sku, at) => ({ sku, quantity: quantities?.[at] ?? 0 }));
    if (state === 'reserved' && row.moved !== lines.length) {
      throw new StockMissingError(orderId, lines.length, row.moved);
    }
    return { state, lines };
  }

  /** Adds pieces that came in; undefined when the product is known to be a charge. */
  async receive({ sku, quantity }: Line): Promise<Levels | undefined> {
    const [levels] = await this.unitOfWork.query<Levels>(
      `INSERT INTO stock (sku, on_hand, reserved, shipped, received)
       SELECT $1::text, $2::bigint, 0, 0, $2::bigint WHERE NOT EXISTS (SELECT FROM product_kinds WHERE sku = $1 AND kind = 'charge')
       ON CONFLICT (sku) DO UPDATE SET
         on_hand = stock.on_hand + excluded.on_hand, received = stock.received + excluded.received
       RETURNING ${LEVELS}`,
      [sku, quantity],
    );
    return levels;
  }

  async levelsOf(sku: string): Promise<Levels | undefined> {
    const [levels] = await this.unitOfWork.query<Levels>(`SELECT ${LEVELS} FROM stock WHERE sku = $1`, [sku]);
    return levels;
  }

  /** Remembers what a product is; an older version than the one known changes nothing. */
  async rememberKind(sku: string, kind: 'stocked' | 'charge', version: number): Promise<void> {
    await this.unitOfWork.query(
      `INSERT INTO product_kinds (sku, kind, version) VALUES ($1, $2, $3)
       ON CONFLICT (sku) DO UPDATE SET kind = excluded.kind, version = excluded.version
       WHERE product_kinds.version < excluded.version`,
      [sku, kind, version],
    );
  }
}
