import type { PayloadOf } from '@flotilla/contracts-protocol';
import type { Address, CreateShipment } from '@flotilla/contracts-shipping';
import { currentOrigin, type Origin } from '@flotilla/observability';
import { defineBulk, UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';
import type { Booking } from '../carrier/carrier.ts';
import { predecessor, type NextMove, type Shipment, type ShipmentState } from '../domain/shipment.ts';

interface ShipmentRow {
  readonly id: string;
  readonly order_id: string;
  readonly status: ShipmentState;
  readonly tracking_number: string | null;
  readonly dispatched_at: Date | null;
  readonly delivered_at: Date | null;
  readonly trouble: string | null;
}

/** A shipment that the carrier moved. */
export interface MovedShipment {
  readonly id: string;
  readonly orderId: string;
  readonly trackingNumber: string;
  /** What the shipment was created for: its events belong to that. */
  readonly origin: Origin | null;
}

/** A shipment of which the carrier is asked what became of its step. */
export interface CheckedShipment extends MovedShipment {
  readonly status: 'created' | 'dispatched' | 'returning';
  readonly shipTo: Address;
  /** How often the step was tried before; of a parcel on its way back, how often it was to be delivered. */
  readonly attempts: number;
  readonly trouble: string | null;
}

/** When there is something to be done next; undefined: nothing. */
export interface NextDue {
  /** For parcels that go by the timetable. */
  readonly plain: Date | undefined;
  /** For those that the carrier is asked about, and those from customers. */
  readonly other: Date | undefined;
}

const SELECT =
  'SELECT id, order_id, status, tracking_number, dispatched_at, delivered_at, trouble FROM shipments WHERE order_id = $1';

// The oldest first; what another replica is moving, or somebody is cancelling, is left to them.
const CLAIM = `
  SELECT id FROM shipments
   WHERE status = $1 AND due_at <= $2 AND NOT checked
   ORDER BY due_at
   LIMIT $3
     FOR UPDATE SKIP LOCKED`;

const DISPATCH = `
  UPDATE shipments SET status = 'dispatched', dispatched_at = $2, due_at = $4
   WHERE id IN (${CLAIM})
  RETURNING id, order_id AS "orderId", tracking_number AS "trackingNumber", origin`;

const DELIVER = `
  UPDATE shipments SET status = 'delivered', delivered_at = $2, due_at = NULL
   WHERE id IN (${CLAIM})
  RETURNING id, order_id AS "orderId", tracking_number AS "trackingNumber", origin`;

const CREATE = defineBulk(
  'writes',
  {
    id: 'uuid',
    order_id: 'uuid',
    tracking_number: 'text',
    ship_to: 'jsonb',
    lines: 'jsonb',
    due_at: 'timestamptz',
    origin: 'jsonb',
    checked: 'boolean',
  },
  (given) => `
  WITH given AS (SELECT * FROM ${given}), made AS (
    INSERT INTO shipments (id, order_id, status, tracking_number, ship_to, lines, due_at, origin, checked)
    SELECT id, order_id, 'created', tracking_number, ship_to, lines, due_at, origin, checked FROM given
    ON CONFLICT (order_id) DO NOTHING
    RETURNING id
  )
  SELECT given.n::int AS n FROM given JOIN made USING (id)`,
);

/** The shipments, in the current unit of work. */
@Injectable()
export class Shipments {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  async find(orderId: string): Promise<Shipment | undefined> {
    const [row] = await this.unitOfWork.query<ShipmentRow>(SELECT, [orderId]);
    return row && shipmentOf(row);
  }

  /** Like {@link find}; nobody else changes the shipment before the unit of work ends. */
  async lock(orderId: string): Promise<Shipment | undefined> {
    const [row] = await this.unitOfWork.query<ShipmentRow>(`${SELECT} FOR UPDATE`, [orderId]);
    return row && shipmentOf(row);
  }

  /** Books the shipment of an order; false: the order has one, or its cancellation came first. */
  async create(
    id: string,
    { orderId, shipTo, lines }: PayloadOf<CreateShipment>,
    booking: Booking,
  ): Promise<boolean> {
    const rows = await this.unitOfWork.bulk(CREATE, [
      id,
      orderId,
      booking.trackingNumber,
      JSON.stringify(shipTo),
      JSON.stringify(lines),
      booking.collectAt,
      JSON.stringify(currentOrigin() ?? null),
      booking.checked,
    ]);
    return rows.length > 0;
  }

  /** Remembers the cancellation of a shipment that there is not; false: there is one meanwhile. */
  async forestall(id: string, orderId: string, reason: string): Promise<boolean> {
    const rows = await this.unitOfWork.query(
      `INSERT INTO shipments (id, order_id, status, cancel_reason) VALUES ($1, $2, 'forestalled', $3)
       ON CONFLICT (order_id) DO NOTHING
       RETURNING id`,
      [id, orderId, reason],
    );
    return rows.length > 0;
  }

  async cancel(id: string, reason: string): Promise<void> {
    await this.unitOfWork.query(
      `UPDATE shipments SET status = 'cancelled', cancel_reason = $2, due_at = NULL WHERE id = $1`,
      [id, reason],
    );
  }

  /** Hands at most `limit` parcels that are due over to the carrier. */
  dispatchDue(now: Date, deliverAt: Date, limit: number): Promise<MovedShipment[]> {
    return this.unitOfWork.query<MovedShipment>(DISPATCH, [predecessor.dispatched, now, limit, deliverAt]);
  }

  /** Brings at most `limit` parcels that are due to the customers. */
  deliverDue(now: Date, limit: number): Promise<MovedShipment[]> {
    return this.unitOfWork.query<MovedShipment>(DELIVER, [predecessor.delivered, now, limit]);
  }

  /** When the carrier is going to take its next steps. */
  async nextDue(): Promise<NextDue> {
    // One look into an index for each, instead of a scan.
    const [row] = await this.unitOfWork.query<{ plain: Date | null; other: Date | null }>(
      `SELECT least((SELECT min(due_at) FROM shipments WHERE status = $1 AND due_at IS NOT NULL AND NOT checked),
                    (SELECT min(due_at) FROM shipments WHERE status = $2 AND due_at IS NOT NULL AND NOT checked)
              ) AS plain,
              least((SELECT min(due_at) FROM shipments WHERE checked AND due_at IS NOT NULL),
                    (SELECT min(due_at) FROM return_parcels WHERE due_at IS NOT NULL)) AS other`,
      [predecessor.dispatched, predecessor.delivered],
    );
    return { plain: row?.plain ?? undefined, other: row?.other ?? undefined };
  }

  /** At most `limit` shipments about whose due step the carrier has to be asked; nobody else asks meanwhile. */
  claimChecked(now: Date, limit: number): Promise<CheckedShipment[]> {
    return this.unitOfWork.query<CheckedShipment>(
      `SELECT id, order_id AS "orderId", tracking_number AS "trackingNumber", origin, status, ship_to AS "shipTo",
              attempts, trouble
         FROM shipments
        WHERE checked AND due_at <= $1
        ORDER BY due_at
        LIMIT $2
          FOR UPDATE SKIP LOCKED`,
      [now, limit],
    );
  }

  /** Writes down a step of a claimed shipment; `dueAt` is for moves after which there is another step. */
  async moveChecked({ id, status }: CheckedShipment, next: NextMove, now: Date, dueAt: Date): Promise<void> {
    const to = next.move === 'again' ? status : next.move;
    const goesOn = to === 'created' || to === 'dispatched' || to === 'returning';
    await this.unitOfWork.query(
      `UPDATE shipments
          SET status = $2, due_at = $3, trouble = coalesce($4, trouble),
              attempts = CASE WHEN $2 IN (status, 'returning') THEN attempts + 1 ELSE 0 END,
              dispatched_at = CASE $2 WHEN 'dispatched' THEN coalesce(dispatched_at, $5) ELSE dispatched_at END,
              delivered_at = CASE $2 WHEN 'delivered' THEN $5::timestamptz END
        WHERE id = $1`,
      [id, to, goesOn ? dueAt : null, 'reason' in next ? next.reason : null, now],
    );
  }
}

function shipmentOf(row: ShipmentRow): Shipment {
  const identity = { id: row.id, orderId: row.order_id };
  // The table's checks hold what a state needs; the fallbacks only tell the compiler so.
  const trackingNumber = row.tracking_number ?? '';
  const dispatchedAt = row.dispatched_at ?? new Date(0);
  const deliveredAt = row.delivered_at ?? new Date(0);
  switch (row.status) {
    case 'created':
    case 'cancelled':
      return { ...identity, status: row.status, trackingNumber };
    case 'dispatched':
      return { ...identity, status: 'dispatched', trackingNumber, dispatchedAt };
    case 'delivered':
      return { ...identity, status: 'delivered', trackingNumber, dispatchedAt, deliveredAt };
    case 'forestalled':
      return { ...identity, status: 'forestalled' };
    case 'failed':
      return { ...identity, status: 'failed', trackingNumber, reason: row.trouble ?? '' };
    case 'returning':
    case 'returned':
    case 'lost':
      return {
        ...identity,
        status: row.status,
        trackingNumber,
        dispatchedAt,
        reason: row.trouble ?? '',
      };
  }
}
