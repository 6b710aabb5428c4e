import { UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';
import type { Payment } from '../domain/payment.ts';
import type { DifferenceKind, OurRecord, TheirRecord } from '../domain/reconciliation.ts';

export interface BookDifference {
  readonly orderId: string;
  readonly kind: DifferenceKind;
  readonly ours: OurRecord | undefined;
  readonly theirs: TheirRecord | undefined;
}

interface BookRow {
  readonly order_id: string;
  readonly status: Payment['status'];
  readonly amount_minor: number | null;
  readonly currency: string | null;
  readonly reference: string | null;
  readonly refunded_minor: number;
  readonly under_way: boolean;
}

// An authorisation that is still undecided after a day is not under way: nobody brings its command again.
const COLUMNS = `
  order_id, status, amount_minor::float8, currency, reference, refunded_minor::float8,
  (in_flight IS NOT NULL OR refunding_minor > 0
    OR (status = 'pending' AND updated_at > now() - interval '1 day')) AS under_way`;

const NOTE = `
  INSERT INTO book_differences AS known (order_id, kind, ours, theirs, found_at, seen_at)
  SELECT order_id, kind, ours, theirs, $5, $5
    FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::jsonb[]) AS found (order_id, kind, ours, theirs)
  ON CONFLICT (order_id) DO UPDATE
     SET kind = excluded.kind, ours = excluded.ours, theirs = excluded.theirs, seen_at = excluded.seen_at,
         found_at = CASE WHEN known.resolved_at IS NULL THEN known.found_at ELSE excluded.found_at END,
         resolved_at = NULL`;

const RESOLVE = `
  UPDATE book_differences SET resolved_at = $2
   WHERE resolved_at IS NULL AND seen_at < $2 AND NOT order_id = ANY ($1::text[])
  RETURNING order_id`;

/** Our side of a reconciliation, and what it found. */
@Injectable()
export class BookDifferences {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /** Payments by order; ids that are none are known to nobody. */
  async ours(orderIds: readonly string[]): Promise<Map<string, OurRecord>> {
    const rows = await this.unitOfWork.query<BookRow>(
      `SELECT ${COLUMNS} FROM payments WHERE order_id = ANY ($1::uuid[])`,
      [orderIds.filter(isUuid)],
    );
    return new Map(rows.map((row) => [row.order_id, recordOf(row)]));
  }

  /** A page of all that the provider must know of, by order id. */
  async page(after: string | undefined, limit: number): Promise<Map<string, OurRecord>> {
    const rows = await this.unitOfWork.query<BookRow>(
      `SELECT ${COLUMNS} FROM payments
        WHERE ($1::uuid IS NULL OR order_id > $1) AND reference IS NOT NULL ORDER BY order_id LIMIT $2`,
      [after ?? null, limit],
    );
    return new Map(rows.map((row) => [row.order_id, recordOf(row)]));
  }

  /** In a unit of work: writes down what differs now, and which of the differences before are no more. */
  async note(differences: readonly BookDifference[], at: Date): Promise<{ readonly resolved: string[] }> {
    await this.unitOfWork.query(NOTE, [
      differences.map(({ orderId }) => orderId),
      differences.map(({ kind }) => kind),
      differences.map(({ ours }) => (ours === undefined ? null : JSON.stringify(ours))),
      differences.map(({ theirs }) => (theirs === undefined ? null : JSON.stringify(theirs))),
      at,
    ]);
    const resolved = await this.unitOfWork.query<{ order_id: string }>(RESOLVE, [
      differences.map(({ orderId }) => orderId),
      at,
    ]);
    return { resolved: resolved.map(({ order_id: orderId }) => orderId) };
  }
}

function isUuid(text: string): boolean {
  return /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);
}

function recordOf(row: BookRow): OurRecord {
  const { amount_minor: amountMinor, currency } = row;
  return {
    status: row.status,
    amount: amountMinor === null || currency === null ? undefined : { amountMinor, currency },
    reference: row.reference ?? undefined,
    refundedMinor: row.refunded_minor,
    underWay: row.under_way,
  };
}
