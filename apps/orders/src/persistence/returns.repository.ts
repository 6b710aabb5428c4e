import type { OrderLine, ReturnStatus } from '@flotilla/contracts-orders';
import type { Address } from '@flotilla/contracts-shipping';
import { UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';
import type { ClaimedLine } from '../domain/order-return.ts';
import { Order, type OrderState } from '../domain/order.ts';

/** A completed order with what a return needs to know of it. */
export interface ReturnableOrder {
  readonly order: Order;
  readonly lines: readonly OrderLine[];
  readonly shipTo: Address;
}

export interface StoredReturn {
  readonly returnId: string;
  readonly status: ReturnStatus;
  readonly lines: readonly ClaimedLine[];
  readonly refundMinor: number;
  readonly currency: string;
  readonly reason: string | undefined;
  readonly detail: string | undefined;
  readonly requestedAt: Date;
  readonly updatedAt: Date;
}

interface OrderRow extends Omit<OrderState, 'totalMinor'> {
  readonly totalMinor: string;
  readonly lines: OrderLine[];
  readonly shipTo: Address;
}

interface ReturnRow extends Omit<StoredReturn, 'refundMinor' | 'reason' | 'detail'> {
  readonly refundMinor: string;
  readonly reason: string | null;
  readonly detail: string | null;
}

/** The returns of orders in the database. */
@Injectable()
export class ReturnsRepository {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /**
   * The order, locked until the unit of work ends: returns of one order are decided one after another, whichever
   * replicas they come to.
   */
  async lockOrder(orderId: string): Promise<ReturnableOrder | undefined> {
    const [row] = await this.unitOfWork.query<OrderRow>(
      `SELECT order_id AS "orderId", customer_id AS "customerId", status, version, total_minor AS "totalMinor",
              currency, lines, ship_to AS "shipTo"
         FROM orders WHERE order_id = $1 FOR UPDATE`,
      [orderId],
    );
    if (!row) return undefined;
    const { lines, shipTo, totalMinor, ...state } = row;
    return { order: new Order({ ...state, totalMinor: Number(totalMinor) }), lines, shipTo };
  }

  /** What the order's returns hold: those under way and those that are done. */
  async claimedOf(orderId: string): Promise<ClaimedLine[]> {
    const rows = await this.unitOfWork.query<{ lines: ClaimedLine[] }>(
      `SELECT lines FROM order_returns
        WHERE order_id = $1 AND status IN ('requested', 'received', 'completed')`,
      [orderId],
    );
    return rows.flatMap(({ lines }) => lines);
  }

  /** Stores a new return; false if there is one with its id. */
  async add(
    orderId: string,
    {
      returnId,
      lines,
      refundMinor,
      currency,
      reason,
      requestedAt,
    }: Omit<StoredReturn, 'status' | 'detail' | 'updatedAt'>,
  ): Promise<boolean> {
    const rows = await this.unitOfWork.query(
      `INSERT INTO order_returns
         (return_id, order_id, status, lines, refund_minor, currency, reason, requested_at, updated_at)
       VALUES ($1, $2, 'requested', $3, $4, $5, $6, $7, $7)
       ON CONFLICT (return_id) DO NOTHING RETURNING return_id`,
      [returnId, orderId, JSON.stringify(lines), refundMinor, currency, reason ?? null, requestedAt],
    );
    return rows.length === 1;
  }

  async become(returnId: string, status: ReturnStatus, at: Date, detail?: string): Promise<void> {
    await this.unitOfWork.query(
      'UPDATE order_returns SET status = $2, updated_at = $3, detail = $4 WHERE return_id = $1',
      [returnId, status, at, detail ?? null],
    );
  }

  /** The returns of an order, the oldest first. */
  async listOf(orderId: string): Promise<StoredReturn[]> {
    const rows = await this.unitOfWork.query<ReturnRow>(
      `SELECT return_id AS "returnId", status, lines, refund_minor AS "refundMinor", currency, reason, detail,
              requested_at AS "requestedAt", updated_at AS "updatedAt"
         FROM order_returns WHERE order_id = $1 ORDER BY requested_at, return_id`,
      [orderId],
    );
    return rows.map(({ refundMinor, reason, detail, ...row }) => ({
      ...row,
      refundMinor: Number(refundMinor),
      reason: reason ?? undefined,
      detail: detail ?? undefined,
    }));
  }
}
