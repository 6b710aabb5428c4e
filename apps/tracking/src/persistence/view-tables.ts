import type { OrderStatus, ReturnStatus } from '@flotilla/contracts-orders';
import type { OrderView, ReturnView } from '@flotilla/contracts-tracking';
import { greatest, key, newest, once, version, viewTable } from '@flotilla/service';

/** What events tell of an order: the status and the times always, the rest once. */
interface OrderRow {
  readonly order_id: string;
  readonly customer_id: string;
  readonly version: number;
  readonly status: OrderStatus;
  readonly updated_at: string;
  readonly rejection_reason?: OrderView['rejectionReason'];
  readonly tracking_number?: string;
  readonly reference?: string | undefined;
  readonly lines?: OrderView['lines'];
  readonly total_minor?: number;
  readonly currency?: string;
  readonly ship_to?: OrderView['shipTo'];
  readonly placed_at?: string;
}

/** One row for each order. Its details are null until `OrderPlaced` has come. */
export const orderViews = viewTable<OrderRow>('order_views', {
  order_id: key('uuid'),
  customer_id: once('text'),
  version: version(),
  status: newest('text'),
  updated_at: greatest('timestamptz'),
  rejection_reason: once('text'),
  tracking_number: once('text'),
  reference: once('text'),
  lines: once('jsonb'),
  total_minor: once('bigint'),
  currency: once('text'),
  ship_to: once('jsonb'),
  placed_at: once('timestamptz'),
});

interface TimelineRow {
  readonly order_id: string;
  readonly position: number;
  readonly at: string;
  readonly event: string;
  readonly status: OrderStatus;
  readonly detail: string | undefined;
}

/** One row for each event of an order; its position is the version of the order after it. */
export const timelineEntries = viewTable<TimelineRow>('timeline_entries', {
  order_id: key('uuid'),
  position: key('integer'),
  at: once('timestamptz'),
  event: once('text'),
  status: once('text'),
  detail: once('text'),
});

interface PaymentRow {
  readonly order_id: string;
  /** What makes the entry one: its kind, and its own key where there are several of it. */
  readonly entry: string;
  readonly kind: 'authorised' | 'captured' | 'refunded';
  readonly amount_minor: number;
  readonly currency: string;
}

/** One row for each movement of an order's money; they are added up when they are read. */
export const paymentEntries = viewTable<PaymentRow>('payment_entries', {
  order_id: key('uuid'),
  entry: key('text'),
  kind: once('text'),
  amount_minor: once('bigint'),
  currency: once('text'),
});

interface ReturnRow {
  readonly return_id: string;
  readonly order_id: string;
  readonly version: number;
  readonly status: ReturnStatus;
  readonly lines: ReturnView['lines'];
  readonly refund_minor: number;
  readonly currency: string;
  readonly requested_at?: string;
  readonly ended_at?: string;
}

/** One row for each return; its version is that of the order's event. */
export const returnViews = viewTable<ReturnRow>('return_views', {
  return_id: key('uuid'),
  order_id: once('uuid'),
  version: version(),
  status: newest('text'),
  lines: once('jsonb'),
  refund_minor: once('bigint'),
  currency: once('text'),
  requested_at: once('timestamptz'),
  ended_at: once('timestamptz'),
});
