import type { OrderLine, RejectionReason } from '@flotilla/contracts-orders';
import type { Address } from '@flotilla/contracts-shipping';
import { defineBulk, UnitOfWork } from '@flotilla/persistence';
import { FlotillaError } from '@flotilla/kernel';
import { Injectable } from '@nestjs/common';
import { Order, type OrderStatus } from '../domain/order.ts';

/** What is stored of a new order beside its state. */
export interface PlacedOrder {
  readonly order: Order;
  readonly email: string | undefined;
  readonly reference: string | undefined;
  readonly lines: readonly OrderLine[];
  readonly shipTo: Address;
  readonly at: Date;
}

/** Why an order ended without being fulfilled. */
export interface Ending {
  readonly rejectionReason?: RejectionReason;
  readonly detail: string;
}

/** Thrown when two transactions changed one order at the same time; the later one is tried again. */
export class OrderChangedError extends FlotillaError {
  constructor(orderId: string) {
    super('ORDER_CHANGED', `Order ${orderId} was changed by another transaction meanwhile`);
  }
}

interface OrderRow {
  readonly order_id: string;
  readonly customer_id: string;
  readonly status: OrderStatus;
  readonly version: number;
  readonly total_minor: string;
  readonly currency: string;
}

const FIND = defineBulk(
  'reads',
  { order_id: 'uuid' },
  (given) => `
  SELECT given.n::int AS n, o.order_id, o.customer_id, o.status, o.version, o.total_minor, o.currency
    FROM ${given} JOIN orders o ON o.order_id = given.order_id`,
);

const SAVE = defineBulk(
  'writes',
  {
    order_id: 'uuid',
    status: 'text',
    version: 'int',
    updated_at: 'timestamptz',
    rejection_reason: 'text',
    detail: 'text',
  },
  (given) => `
  UPDATE orders o
     SET status = given.status, version = given.version, updated_at = given.updated_at,
         rejection_reason = given.rejection_reason, detail = given.detail
    FROM ${given}
   WHERE o.order_id = given.order_id AND o.version = given.version - 1
  RETURNING given.n::int AS n`,
);

/** The orders in the database. */
@Injectable()
export class OrdersRepository {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  /** The order, or undefined. */
  async find(orderId: string): Promise<Order | undefined> {
    const [row] = await this.unitOfWork.bulk<OrderRow>(FIND, [orderId]);
    return (
      row &&
      new Order({
        orderId: row.order_id,
        customerId: row.customer_id,
        status: row.status,
        version: row.version,
        totalMinor: Number(row.total_minor),
        currency: row.currency,
      })
    );
  }

  /** Stores a new order; false if there is one with its id. */
  async add({ order: { state }, email, reference, lines, shipTo, at }: PlacedOrder): Promise<boolean> {
    const rows = await this.unitOfWork.query(
      `INSERT INTO orders (order_id, customer_id, email, reference, status, version, total_minor, currency,
                           lines, ship_to, placed_at, updated_at)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11)
       ON CONFLICT (order_id) DO NOTHING RETURNING order_id`,
      [
        state.orderId,
        state.customerId,
        email ?? null,
        reference ?? null,
        state.status,
        state.version,
        state.totalMinor,
        state.currency,
        JSON.stringify(lines),
        JSON.stringify(shipTo),
        at,
      ],
    );
    return rows.length === 1;
  }

  /** Stores an order one event later. Throws {@link OrderChangedError} if another transaction was quicker. */
  async save({ state }: Order, at: Date, ending?: Ending): Promise<void> {
    const rows = await this.unitOfWork.bulk(SAVE, [
      state.orderId,
      state.status,
      state.version,
      at,
      ending?.rejectionReason ?? null,
      ending?.detail ?? null,
    ]);
    if (rows.length !== 1) throw new OrderChangedError(state.orderId);
  }
}
