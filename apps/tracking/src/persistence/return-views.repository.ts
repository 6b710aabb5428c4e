import type { ReturnStatus } from '@flotilla/contracts-orders';
import type { ReturnView } from '@flotilla/contracts-tracking';
import { UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';

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
