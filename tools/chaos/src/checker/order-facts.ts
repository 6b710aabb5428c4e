import type { ExpectedOrder } from './access.ts';
import type { Source } from './merge.ts';
import type { Snapshot } from './snapshot.ts';

/** A line of an order or of a return. */
export interface Line {
  readonly sku: string;
  readonly quantity: number;
  readonly unitPriceMinor: number;
  readonly kind?: string;
  readonly damaged?: boolean;
}

/** An event as the outbox of its owner has it. */
export interface EventRow {
  readonly key: string;
  readonly id: string;
  readonly name: string;
  /** `ce-aggregateversion`; null where its contract has none. */
  readonly version: string | null;
  readonly body: string;
}

export interface OrderRow {
  readonly order_id: string;
  readonly customer_id: string;
  readonly status: string;
  readonly version: number;
  readonly total_minor: string;
  readonly lines: readonly Line[];
  readonly rejection_reason: string | null;
  readonly placed_at: Date;
}

export interface ReturnRow {
  readonly order_id: string;
  readonly return_id: string;
  readonly status: string;
  readonly lines: readonly Line[];
  readonly refund_minor: string;
}

export interface SagaRow {
  readonly order_id: string;
  readonly id: string;
  readonly saga: string;
  readonly status: string;
  readonly step: string | null;
  readonly due_at: Date | null;
}

export interface StepRow {
  readonly order_id: string;
  readonly id: string;
  readonly saga: string;
  readonly kind: string;
  readonly step: string | null;
  readonly detail: Readonly<Record<string, unknown>> | null;
}

export interface PaymentRow {
  readonly order_id: string;
  readonly status: string;
  readonly amount_minor: string | null;
  readonly refunded_minor: string;
  readonly refunding_minor: string;
  readonly in_flight: string | null;
  readonly reference: string | null;
}

export interface RefundRow {
  readonly order_id: string;
  readonly refund_key: string;
  readonly amount_minor: string;
  readonly status: string;
}

/** Something that the provider decided, under the key that it was asked with. */
export interface OperationRow {
  readonly order_id: string;
  readonly key: string;
  readonly outcome: string;
  readonly amount_minor: string | null;
}

export interface AuthorisationRow {
  readonly order_id: string;
  readonly reference: string;
  readonly status: string;
  readonly amount_minor: string;
  readonly refunded_minor: string;
}

export interface LedgerRow {
  readonly order_id: string;
  readonly transaction_id: string;
  readonly kind: string;
  readonly account: string;
  readonly direction: string;
  readonly amount_minor: string;
}

export interface ReservationRow {
  readonly order_id: string;
  readonly state: string;
  readonly skus: readonly string[];
  readonly quantities: readonly string[];
}

export interface ReceiptRow extends Omit<ReservationRow, 'state'> {
  readonly return_key: string;
  readonly damaged: readonly boolean[];
}

export interface ShipmentRow {
  readonly order_id: string;
  readonly status: string;
}

export interface ParcelRow {
  readonly order_id: string;
  readonly return_id: string;
  readonly status: string;
}

export interface MailRow {
  readonly order_id: string;
  readonly fact: string;
  readonly status: string;
}

export interface ViewRow {
  readonly order_id: string;
  readonly customer_id: string;
  readonly status: string;
  readonly version: number;
  readonly rejection_reason: string | null;
  readonly reference: string | null;
  readonly lines: unknown;
  readonly total_minor: string | null;
  readonly currency: string | null;
  readonly ship_to: unknown;
  readonly tracking_number: string | null;
  readonly placed_at: Date | null;
  readonly updated_at: Date;
}

export interface TimelineRow {
  readonly order_id: string;
  readonly position: number;
  readonly at: Date;
  readonly event: string;
  readonly status: string;
  readonly detail: string | null;
}

export interface MovementRow {
  readonly order_id: string;
  readonly entry: string;
  readonly kind: string;
  readonly amount_minor: string;
  readonly currency: string;
}

export interface ReturnViewRow {
  readonly order_id: string;
  readonly return_id: string;
  readonly version: number;
  readonly status: string;
  readonly lines: unknown;
  readonly refund_minor: string;
  readonly currency: string;
  readonly requested_at: Date | null;
  readonly ended_at: Date | null;
}

/** Everything that anybody says of one order; rows of one source are in the order of their making where that matters. */
export interface OrderFacts {
  readonly expected: ExpectedOrder;
  readonly orders: OrderRow;
  readonly returns: ReturnRow;
  readonly sagas: SagaRow;
  readonly steps: StepRow;
  readonly orderEvents: EventRow;
  readonly payments: PaymentRow;
  readonly refunds: RefundRow;
  readonly operations: OperationRow;
  readonly authorisations: AuthorisationRow;
  readonly ledger: LedgerRow;
  readonly paymentEvents: EventRow;
  readonly reservations: ReservationRow;
  readonly receipts: ReceiptRow;
  readonly stockEvents: EventRow;
  readonly shipments: ShipmentRow;
  readonly parcels: ParcelRow;
  readonly shippingEvents: EventRow;
  readonly mails: MailRow;
  readonly views: ViewRow;
  readonly timeline: TimelineRow;
  readonly movements: MovementRow;
  readonly returnViews: ReturnViewRow;
}

/** The same with all rows of each source. */
export type OneOrder = { readonly [N in keyof OrderFacts]: readonly OrderFacts[N][] };

/** What is looked at of every service; what is in its databases when the fleet rests. */
export type Snapshots = Readonly<
  Record<'inventory' | 'notifications' | 'orders' | 'payments' | 'shipping' | 'tracking', Snapshot>
>;

// An id of an order has this form; of other things too: events whose key is not an order's are left out by their names.
const OTHERS = `'StockReceived', 'ReturnReceived'`;
const UUID = `'^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'`;

/** The events of one owner about orders, without those that were sent once more for one consumer: those of one order in the order in which they were written. */
function events(owner: string): string {
  return `
  SELECT key, id, split_part(subject, '.', 3) AS name, headers->>'ce-aggregateversion' AS version, body
    FROM outbox
   WHERE subject LIKE 'evt.${owner}.%' AND headers->>'flotilla-replay-for' IS NULL AND key ~ ${UUID} AND split_part(subject, '.', 3) NOT IN (${OTHERS})
   ORDER BY key COLLATE "C", position`;
}

/** The order of a saga: its own id, or that of the return that it is about. */
const SAGA_ORDER = `coalesce(r.order_id::text, s.id) AS order_id`;
const SAGA_RETURN = `LEFT JOIN order_returns r ON s.saga = 'return' AND r.return_id::text = s.id`;

const SAGAS = `
  SELECT ${SAGA_ORDER}, s.id, s.saga, s.status, s.step, s.due_at FROM saga_instances s ${SAGA_RETURN}
   ORDER BY coalesce(r.order_id::text, s.id) COLLATE "C"`;

const STEPS = `
  SELECT ${SAGA_ORDER}, s.id, s.saga, s.kind, s.step, s.detail FROM saga_history s ${SAGA_RETURN}
   ORDER BY coalesce(r.order_id::text, s.id) COLLATE "C", s.id, s.saga, s.sequence`;

const REFUNDS = `
  SELECT p.order_id, r.refund_key, r.amount_minor, r.status
    FROM refunds r JOIN payments p ON p.id = r.payment_id ORDER BY p.order_id`;

// Every key of the provider begins with the order's id.
const OPERATIONS = `
  SELECT split_part(key, ':', 1) AS order_id, key, outcome, amount_minor
    FROM sandbox_provider.operations ORDER BY split_part(key, ':', 1) COLLATE "C", decided_at`;

const AUTHORISATIONS = `
  SELECT coalesce(split_part(o.key, ':', 1), '') AS order_id, a.reference, a.status, a.amount_minor, a.refunded_minor
    FROM sandbox_provider.authorisations a
    LEFT JOIN sandbox_provider.operations o ON o.reference = a.reference AND o.kind = 'authorise'
   ORDER BY coalesce(split_part(o.key, ':', 1), '') COLLATE "C"`;

const LEDGER = `
  SELECT coalesce(p.order_id::text, '') AS order_id, l.transaction_id, l.kind, l.account, l.direction, l.amount_minor
    FROM ledger_entries l LEFT JOIN payments p ON p.id = l.payment_id
   ORDER BY coalesce(p.order_id::text, '') COLLATE "C", l.transaction_id, l.line`;

/** The sources of {@link OrderFacts}, each sorted by the order's id. */
export function orderSources(
  { inventory, notifications, orders, payments, shipping, tracking }: Snapshots,
  expected: readonly ExpectedOrder[],
): { readonly [N in keyof OrderFacts]: Source<OrderFacts[N]> } {
  const byOrder = <R extends { readonly order_id: string }>(snapshot: Snapshot, sql: string): Source<R> => ({
    rows: snapshot.stream<R>(sql),
    keyOf: (row) => row.order_id,
  });
  const byKey = (snapshot: Snapshot, owner: string): Source<EventRow> => ({
    rows: snapshot.stream<EventRow>(events(owner)),
    keyOf: (row) => row.key,
  });
  const table = (name: string, more = ''): string => `SELECT * FROM ${name} ORDER BY order_id${more}`;
  return {
    expected: {
      rows: expected.toSorted((a, b) => (a.orderId < b.orderId ? -1 : a.orderId > b.orderId ? 1 : 0)),
      keyOf: ({ orderId }) => orderId,
    },
    orders: byOrder(orders, table('orders')),
    returns: byOrder(orders, table('order_returns', ', requested_at')),
    sagas: byOrder(orders, SAGAS),
    steps: byOrder(orders, STEPS),
    orderEvents: byKey(orders, 'orders'),
    payments: byOrder(payments, table('payments')),
    refunds: byOrder(payments, REFUNDS),
    operations: byOrder(payments, OPERATIONS),
    authorisations: byOrder(payments, AUTHORISATIONS),
    ledger: byOrder(payments, LEDGER),
    paymentEvents: byKey(payments, 'payments'),
    reservations: byOrder(inventory, table('reservations')),
    receipts: byOrder(inventory, table('return_receipts')),
    stockEvents: byKey(inventory, 'inventory'),
    shipments: byOrder(shipping, table('shipments')),
    parcels: byOrder(shipping, table('return_parcels')),
    shippingEvents: byKey(shipping, 'shipping'),
    mails: byOrder(notifications, 'SELECT order_id, fact, status FROM mailbox ORDER BY order_id, fact'),
    views: byOrder(tracking, table('order_views')),
    timeline: byOrder(tracking, table('timeline_entries', ', position')),
    movements: byOrder(tracking, table('payment_entries', ', entry')),
    returnViews: byOrder(tracking, table('return_views')),
  };
}
