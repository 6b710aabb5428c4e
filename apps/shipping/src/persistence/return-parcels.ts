import type { PayloadOf } from '@flotilla/contracts-protocol';
import type { CreateReturnShipment } from '@flotilla/contracts-shipping';
import { currentOrigin, type Origin } from '@flotilla/observability';
import { UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';
import type { ReturnBooking } from '../carrier/carrier.ts';

/** A parcel from a customer. */
export interface ReturnParcel {
  readonly id: string;
  readonly status: 'created' | 'received' | 'cancelled' | 'forestalled';
  readonly trackingNumber: string | null;
  readonly receivedAt: Date | null;
}

/** One that arrived. */
export interface ReceivedParcel {
  readonly id: string;
  readonly returnId: string;
  readonly orderId: string;
  readonly origin: Origin | null;
}

/** The parcels that customers send back, in the current unit of work. */
@Injectable()
export class ReturnParcels {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /** Nobody else changes the parcel before the unit of work ends. */
  async lock(returnId: string): Promise<ReturnParcel | undefined> {
    const [row] = await this.unitOfWork.query<ReturnParcel>(
      `SELECT id, status, tracking_number AS "trackingNumber", received_at AS "receivedAt"
         FROM return_parcels WHERE return_id = $1 FOR UPDATE`,
      [returnId],
    );
    return row;
  }

  /** Books the parcel of a return; false: it has one, or its cancellation came first. */
  async create(
    id: string,
    { returnId, orderId, shipFrom, lines }: PayloadOf<CreateReturnShipment>,
    { trackingNumber, receiveAt }: ReturnBooking,
  ): Promise<boolean> {
    const rows = await this.unitOfWork.query(
      `INSERT INTO return_parcels
         (return_id, id, order_id, status, tracking_number, ship_from, lines, due_at, origin)
       VALUES ($1, $2, $3, 'created', $4, $5, $6, $7, $8)
       ON CONFLICT (return_id) DO NOTHING
       RETURNING id`,
      [
        returnId,
        id,
        orderId,
        trackingNumber,
        JSON.stringify(shipFrom),
        JSON.stringify(lines),
        receiveAt ?? null,
        JSON.stringify(currentOrigin() ?? null),
      ],
    );
    return rows.length > 0;
  }

  /** Remembers the cancellation of a parcel that there is not; false: there is one meanwhile. */
  async forestall(id: string, returnId: string, orderId: string, reason: string): Promise<boolean> {
    const rows = await this.unitOfWork.query(
      `INSERT INTO return_parcels (return_id, id, order_id, status, cancel_reason)
       VALUES ($1, $2, $3, 'forestalled', $4)
       ON CONFLICT (return_id) DO NOTHING
       RETURNING id`,
      [returnId, id, orderId, reason],
    );
    return rows.length > 0;
  }

  async cancel(returnId: string, reason: string): Promise<void> {
    await this.unitOfWork.query(
      `UPDATE return_parcels SET status = 'cancelled', cancel_reason = $2, due_at = NULL WHERE return_id = $1`,
      [returnId, reason],
    );
  }

  /** Takes in at most `limit` parcels that are due; what another replica takes in is left to it. */
  receiveDue(now: Date, limit: number): Promise<ReceivedParcel[]> {
    return this.unitOfWork.query<ReceivedParcel>(
      `UPDATE return_parcels SET status = 'received', received_at = $1, due_at = NULL
        WHERE return_id IN (
          SELECT return_id FROM return_parcels WHERE due_at <= $1
           ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED)
       RETURNING id, return_id AS "returnId", order_id AS "orderId", origin`,
      [now, limit],
    );
  }
}
