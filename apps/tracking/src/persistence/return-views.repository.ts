import type { ReturnStatus } from '@flotilla/contracts-orders';
import type { ReturnView } from '@flotilla/contracts-tracking';
import { UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';

/** What an event says of a return. */
export interface ReturnStep extends Pick<ReturnView, 'returnId' | 'status' | 'lines' | 'refund'> {
  readonly orderId: string;
  /** Of the order's event. */
  readonly version: number;
  readonly at: string;
}

interface ReturnRow {
  readonly returnId: string;
  readonly status: ReturnStatus;
  readonly lines: ReturnView['lines'];
  readonly refundMinor: string;
  readonly currency: string;
  readonly requestedAt: Date;
  readonly endedAt: Date | null;
}

/** The returns of orders, as the read side shows them. */
@Injectable()
export class ReturnViewsRepository {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /** Takes over what an event says; an older one than the newest known gives no status. */
  async add({ returnId, orderId, version, status, lines, refund, at }: ReturnStep): Promise<void> {
    const requested = status === 'requested';
    await this.unitOfWork.query(
      `INSERT INTO return_views AS known
         (return_id, order_id, version, status, lines, refund_minor, currency, requested_at, ended_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
       ON CONFLICT (return_id) DO UPDATE SET
         status = CASE WHEN known.version < excluded.version THEN excluded.status ELSE known.status END,
         version = greatest(known.version, excluded.version),
         requested_at = coalesce(known.requested_at, excluded.requested_at),
         ended_at = coalesce(known.ended_at, excluded.ended_at)`,
      [
        returnId,
        orderId,
        version,
        status,
        JSON.stringify(lines),
        refund.amountMinor,
        refund.currency,
        requested ? at : null,
        requested ? null : at,
      ],
    );
  }

  /** The returns of an order whose request is known, the oldest first. */
  async of(orderId: string): Promise<ReturnView[]> {
    const rows = await this.unitOfWork.query<ReturnRow>(
      `SELECT return_id AS "returnId", status, lines, refund_minor AS "refundMinor", currency,
              requested_at AS "requestedAt", ended_at AS "endedAt"
         FROM return_views WHERE order_id = $1 AND requested_at IS NOT NULL ORDER BY requested_at, return_id`,
      [orderId],
    );
    return rows.map(({ refundMinor, currency, requestedAt, endedAt, ...row }) => ({
      ...row,
      refund: { amountMinor: Number(refundMinor), currency },
      requestedAt: requestedAt.toISOString(),
      ...(endedAt && { endedAt: endedAt.toISOString() }),
    }));
  }
}
