import type { EventRow, Line } from './order-facts.ts';

/** What an order's events say, worked out here from their bodies alone. */
export interface RebuiltOrder {
  readonly order:
    | {
        readonly customer_id: unknown;
        readonly status: string;
        readonly version: number;
        readonly rejection_reason: unknown;
        readonly reference: unknown;
        readonly lines: unknown;
        readonly total_minor: unknown;
        readonly currency: unknown;
        readonly ship_to: unknown;
        readonly tracking_number: unknown;
        readonly placed_at: unknown;
        readonly updated_at: unknown;
      }
    | undefined;
  readonly timeline: readonly RebuiltEntry[];
  readonly movements: readonly Readonly<Record<string, unknown>>[];
  readonly returns: readonly Readonly<Record<string, unknown>>[];
}

export interface RebuiltEntry {
  readonly position: number;
  readonly at: unknown;
  readonly event: string;
  readonly status: string;
  readonly detail: unknown;
}

export interface Payload {
  readonly [field: string]: unknown;
}

/** An event with its body read. */
export interface ReadEvent {
  readonly name: string;
  readonly version: number | null;
  readonly payload: Payload;
}

export function readEvent({ name, version, body }: EventRow): ReadEvent {
  return { name, version: version === null ? null : Number(version), payload: JSON.parse(body) as Payload };
}

/** The status that each event of an order leaves it in. */
const statusAfter: Readonly<Record<string, string>> = {
  OrderPlaced: 'pending',
  OrderAwaitingReview: 'awaiting_review',
  OrderReviewed: 'pending',
  OrderConfirmed: 'confirmed',
  OrderShipped: 'shipped',
  OrderCompleted: 'completed',
  OrderRejected: 'rejected',
  OrderCancelled: 'cancelled',
  OrderReturnRequested: 'completed',
  OrderReturned: 'completed',
  OrderReturnClosed: 'completed',
};

/** The views of one order, built from nothing but the events of orders and payments. */
export function rebuild(
  orderEvents: readonly ReadEvent[],
  paymentEvents: readonly ReadEvent[],
): RebuiltOrder {
  const timeline: RebuiltEntry[] = [];
  const returns = new Map<string, Record<string, unknown>>();
  let placed: Payload | undefined;
  let last: ReadEvent | undefined;
  let latest = -Infinity;
  let updated: unknown;
  let rejection: unknown = null;
  let parcel: unknown = null;
  for (const event of orderEvents) {
    const status = statusAfter[event.name];
    if (status === undefined || event.version === null) continue;
    const { payload } = event;
    if (event.name === 'OrderPlaced') placed = payload;
    if (event.name === 'OrderRejected') rejection = payload['reason'];
    if (event.name === 'OrderShipped') parcel = payload['trackingNumber'];
    if (last === undefined || event.version > (last.version ?? 0)) last = event;
    const at = Date.parse(String(payload['at']));
    if (at > latest) [latest, updated] = [at, payload['at']];
    timeline.push({
      position: event.version,
      at: payload['at'],
      event: event.name,
      status,
      detail: detailOf(event),
    });
    if (event.name.startsWith('OrderReturn')) keepReturn(returns, event);
  }
  timeline.sort((a, b) => a.position - b.position);
  return {
    order: last && {
      customer_id: last.payload['customerId'],
      status: statusAfter[last.name] ?? '',
      version: last.version ?? 0,
      rejection_reason: rejection,
      reference: placed?.['reference'] ?? null,
      lines: placed?.['lines'] ?? null,
      total_minor: amountOf(placed?.['total']).minor,
      currency: amountOf(placed?.['total']).currency,
      ship_to: placed?.['shipTo'] ?? null,
      tracking_number: parcel,
      placed_at: placed?.['at'] ?? null,
      updated_at: updated,
    },
    timeline,
    movements: movementsOf(paymentEvents),
    returns: [...returns.values()],
  };
}

function detailOf({ name, payload }: ReadEvent): unknown {
  switch (name) {
    case 'OrderAwaitingReview':
      return payload['why'];
    case 'OrderReviewed':
      return `${String(payload['decision'])} by ${String(payload['reviewer'])}`;
    case 'OrderShipped':
      return payload['trackingNumber'];
    case 'OrderRejected':
      return `${String(payload['reason'])}: ${String(payload['detail'])}`;
    case 'OrderCancelled':
      return payload['reason'];
    case 'OrderReturnRequested':
    case 'OrderReturned': {
      const pieces = (payload['lines'] as readonly Line[]).map(({ sku, quantity }) => `${quantity} x ${sku}`);
      const rest = pieces.length > 10 ? ` and ${pieces.length - 10} more` : '';
      return pieces.slice(0, 10).join(', ') + rest;
    }
    case 'OrderReturnClosed':
      return `${String(payload['outcome'])}: ${String(payload['detail'])}`;
    default:
      return null;
  }
}

function keepReturn(
  returns: Map<string, Record<string, unknown>>,
  { name, version, payload }: ReadEvent,
): void {
  const id = String(payload['returnId']);
  const status =
    name === 'OrderReturnRequested'
      ? 'requested'
      : name === 'OrderReturned'
        ? 'completed'
        : String(payload['outcome']);
  const known = returns.get(id) ?? { return_id: id, version: 0, requested_at: null, ended_at: null };
  const newer = (version ?? 0) > Number(known['version']);
  const refund = amountOf(payload['refund']);
  returns.set(id, {
    ...known,
    ...(newer && { version, status }),
    lines: known['lines'] ?? payload['lines'],
    refund_minor: refund.minor,
    currency: refund.currency,
    [status === 'requested' ? 'requested_at' : 'ended_at']: payload['at'],
  });
}

/** Each kind of movement once, and each refund once per key. */
function movementsOf(events: readonly ReadEvent[]): Record<string, unknown>[] {
  const movements = new Map<string, Record<string, unknown>>();
  const kinds: Readonly<Record<string, string>> = {
    PaymentAuthorised: 'authorised',
    PaymentCaptured: 'captured',
    PaymentRefunded: 'refunded',
  };
  for (const { name, payload } of events) {
    const kind = kinds[name];
    if (kind === undefined) continue;
    const entry = kind === 'refunded' ? `refunded:${String(payload['refundKey'])}` : kind;
    const { minor, currency } = amountOf(payload['amount']);
    if (!movements.has(entry)) movements.set(entry, { entry, kind, amount_minor: minor, currency });
  }
  return [...movements.values()];
}

export function amountOf(money: unknown): { readonly minor: string | null; readonly currency: unknown } {
  if (typeof money !== 'object' || money === null) return { minor: null, currency: null };
  const { amountMinor, currency } = money as { readonly amountMinor?: number; readonly currency?: string };
  return { minor: amountMinor === undefined ? null : String(amountMinor), currency: currency ?? null };
}

/** The fields in which a row is not what it should be: "status confirmed for completed". */
export function differing(
  row: Readonly<Record<string, unknown>>,
  expected: Readonly<Record<string, unknown>>,
): string[] {
  return Object.entries(expected).flatMap(([field, value]) => {
    const [is, should] = [plain(row[field]), plain(value)];
    return is === should ? [] : [`${field} ${short(is)} for ${short(should)}`];
  });
}

/** One text for one value, however it came: times as milliseconds, fields in the order of their names. */
function plain(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (value instanceof Date) return String(value.getTime());
  if (typeof value === 'string')
    return /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value) ? String(Date.parse(value)) : value;
  return JSON.stringify(sorted(value));
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const fields = value as Record<string, unknown>;
  return Object.fromEntries(
    Object.keys(fields)
      .sort()
      .map((name) => [name, sorted(fields[name])]),
  );
}

const short = (text: string): string => (text.length > 60 ? `${text.slice(0, 60)}...` : text);
