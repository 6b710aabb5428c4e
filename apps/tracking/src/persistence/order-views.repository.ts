import type { OrderStatus } from '@flotilla/contracts-orders';
import type { OrderView, TimelineEntry } from '@flotilla/contracts-tracking';
import { UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';
import { contiguous } from '../domain/contiguous.ts';
import type { Cursor } from '../domain/cursor.ts';

/** An order without what only its own page shows. */
export type OrderSummary = Omit<OrderView, 'lines' | 'timeline' | 'returns'>;

/** A version of an order that somebody wants to see, of that customer if one is given. */
export interface WantedOrder {
  readonly id: string;
  readonly version: number;
  readonly customerId: string | undefined;
}

interface ViewRow {
  readonly order_id: string;
  readonly customer_id: string;
  readonly status: OrderStatus;
  readonly rejection_reason: OrderView['rejectionReason'] | null;
  readonly reference: string | null;
  readonly lines: OrderView['lines'];
  readonly total_minor: string;
  readonly currency: string;
  readonly ship_to: OrderView['shipTo'];
  readonly tracking_number: string | null;
  readonly placed_at: Date;
  readonly updated_at: Date;
  readonly authorised: string | null;
  readonly captured: string | null;
  readonly refunded: string | null;
}

interface TimelineRow {
  readonly position: number;
  readonly at: Date;
  readonly event: string;
  readonly status: OrderStatus;
  readonly detail: string | null;
}

const summaryColumns = `
  v.order_id, v.customer_id, v.status, v.rejection_reason, v.reference, v.total_minor, v.currency, v.ship_to,
  v.tracking_number, v.placed_at, v.updated_at, p.authorised, p.captured, p.refunded`;

const payments = `
  LEFT JOIN LATERAL (
    SELECT sum(amount_minor) FILTER (WHERE kind = 'authorised') AS authorised,
           sum(amount_minor) FILTER (WHERE kind = 'captured') AS captured,
           sum(amount_minor) FILTER (WHERE kind = 'refunded') AS refunded
    FROM payment_entries e WHERE e.order_id = v.order_id
  ) p ON true`;

/** Reads the views. */
@Injectable()
export class OrderViewsRepository {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /** One order with lines and timeline; only the given customer's, if one is given. */
  async find(orderId: string, customerId?: string): Promise<OrderView | undefined> {
    const [row] = await this.unitOfWork.query<
      ViewRow & { timeline: (Omit<TimelineRow, 'at'> & { at: string })[] }
    >(
      `SELECT ${summaryColumns}, v.lines,
              (SELECT coalesce(json_agg(t ORDER BY t.position), '[]'::json)
               FROM (SELECT position, at, event, status, detail FROM timeline_entries
                     WHERE order_id = v.order_id) t) AS timeline
       FROM order_views v ${payments}
       WHERE v.order_id = $1 AND v.placed_at IS NOT NULL AND ($2::text IS NULL OR v.customer_id = $2)`,
      [orderId, customerId ?? null],
    );
    if (!row) return undefined;
    const timeline = row.timeline.map((entry) => toEntry({ ...entry, at: new Date(entry.at) }));
    return { ...toSummary(row), lines: row.lines, timeline: contiguous(timeline) };
  }

  /** Whether the views have those versions of the orders, and all before them. */
  async reached(wanted: readonly WantedOrder[]): Promise<boolean[]> {
    const rows = await this.unitOfWork.query<{ index: number }>(
      `SELECT w.index
       FROM json_to_recordset($1::json) AS w (index integer, id uuid, version bigint, customer text)
       JOIN order_views v ON v.order_id = w.id AND v.version >= w.version
                         AND (w.customer IS NULL OR v.customer_id = w.customer)
       WHERE (SELECT count(*) FROM timeline_entries t
              WHERE t.order_id = w.id AND t.position <= w.version) = w.version`,
      [
        JSON.stringify(
          wanted.map(({ id, version, customerId }, index) => ({ index, id, version, customer: customerId })),
        ),
      ],
    );
    const reached = new Set(rows.map(({ index }) => index));
    return wanted.map((_, index) => reached.has(index));
  }

  /** A page of orders, the newest first. */
  async list(filter: {
    readonly customerId: string | undefined;
    readonly status: OrderStatus | undefined;
    readonly after: Cursor | undefined;
    readonly limit: number;
  }): Promise<OrderSummary[]> {
    const conditions = ['v.placed_at IS NOT NULL'];
    const parameters: unknown[] = [filter.limit];
    const where = (condition: (...places: string[]) => string, ...values: unknown[]): void => {
      conditions.push(condition(...values.map((value) => `$${parameters.push(value)}`)));
    };
    if (filter.customerId !== undefined) where((place) => `v.customer_id = ${place}`, filter.customerId);
    if (filter.status !== undefined) where((place) => `v.status = ${place}`, filter.status);
    if (filter.after) {
      where(
        (placedAt, orderId) => `(v.placed_at, v.order_id) < (${placedAt}::timestamptz, ${orderId}::uuid)`,
        filter.after.placedAt,
        filter.after.orderId,
      );
    }
    const rows = await this.unitOfWork.query<ViewRow>(
      `SELECT ${summaryColumns} FROM order_views v ${payments}
       WHERE ${conditions.join(' AND ')} ORDER BY v.placed_at DESC, v.order_id DESC LIMIT $1`,
      parameters,
    );
    return rows.map(toSummary);
  }

  /** What happened to an order after a position; undefined for an unknown order. */
  async timeline(
    orderId: string,
    after: number,
  ): Promise<{ customerId: string; status: OrderStatus; entries: TimelineEntry[] } | undefined> {
    const rows = await this.unitOfWork.query<
      Partial<TimelineRow> & { customer_id: string; view_status: OrderStatus }
    >(
      `SELECT v.customer_id, v.status AS view_status, t.position, t.at, t.event, t.status, t.detail
       FROM order_views v LEFT JOIN timeline_entries t ON t.order_id = v.order_id AND t.position > $2::bigint
       WHERE v.order_id = $1 AND v.placed_at IS NOT NULL`,
      [orderId, after],
    );
    const [first] = rows;
    if (!first) return undefined;
    // The outer join makes one row without an entry when there is none.
    const entries = rows.flatMap((row) =>
      typeof row.position !== 'number' ? [] : [toEntry(row as TimelineRow)],
    );
    return { customerId: first.customer_id, status: first.view_status, entries: contiguous(entries, after) };
  }
}

function toSummary(row: ViewRow): OrderSummary {
  const money = (amount: string | null): OrderView['total'] => ({
    amountMinor: Number(amount ?? 0),
    currency: row.currency,
  });
  return {
    orderId: row.order_id,
    customerId: row.customer_id,
    status: row.status,
    ...(row.rejection_reason !== null && { rejectionReason: row.rejection_reason }),
    ...(row.reference !== null && { reference: row.reference }),
    total: money(row.total_minor),
    shipTo: row.ship_to,
    ...(row.tracking_number !== null && { trackingNumber: row.tracking_number }),
    payment: {
      authorised: money(row.authorised),
      captured: money(row.captured),
      refunded: money(row.refunded),
    },
    placedAt: row.placed_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  };
}

function toEntry({ position, at, event, status, detail }: TimelineRow): TimelineEntry {
  return { position, at: at.toISOString(), event, status, ...(detail !== null && { detail }) };
}
