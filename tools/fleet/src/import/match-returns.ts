import { keyOf, type PlannedOrder, type PlannedReturn } from './plan.ts';

/** What became of an order that was to be placed. */
export interface OrderOutcome {
  /** Undefined when the API would not take it. */
  readonly orderId: string | undefined;
  /** `refused` when the API would not take it. */
  readonly status: string;
}

/** Why pieces of a cancellation return nothing. */
export type UnmatchedReason =
  | 'no earlier order of the customer'
  | 'in no earlier order of the customer'
  | 'its order has not ended'
  | 'its order was not completed'
  | 'no quantity left';

export interface UnmatchedReturn {
  readonly line: number;
  readonly invoice: string;
  readonly sku: string;
  /** Pieces; of a row that is matched in part, the rest. */
  readonly quantity: number;
  readonly reason: UnmatchedReason;
}

/** What one cancellation returns of one order: one request. */
export interface ReturnRequest {
  /** Of the cancellation. */
  readonly invoice: string;
  readonly order: PlannedOrder;
  readonly orderId: string;
  readonly lines: readonly { readonly sku: string; readonly quantity: number }[];
  /** What was paid for these pieces. */
  readonly refundMinor: number;
  /** The idempotency key: it follows from the cancellation and what it returns. */
  readonly key: string;
}

export interface MatchedReturns {
  /** Those of one order are in the order of the file. */
  readonly requests: readonly ReturnRequest[];
  readonly unmatched: readonly UnmatchedReturn[];
  /** Rows that are matched, at least in part. */
  readonly matchedRows: number;
  readonly matchedQuantity: number;
  readonly refundMinor: number;
}

const final: ReadonlySet<string> = new Set(['completed', 'rejected', 'cancelled', 'refused']);

/**
 * Finds what the rows of cancellations return: pieces of the same code in the same customer's earlier orders, the latest
 * first, where there are some left. A row one of whose orders has not ended is left for another run: what is matched
 * follows from ends that never change, so that the same file always makes the same requests. Pure.
 */
export function matchReturns(
  returns: readonly PlannedReturn[],
  orders: readonly PlannedOrder[],
  outcomeOf: (order: PlannedOrder) => OrderOutcome,
): MatchedReturns {
  const byCustomer = Map.groupBy(orders, ({ customerId }) => customerId);
  const stocks = new Map<PlannedOrder, Pieces>();
  const drafts = new Map<string, Draft>();
  const unmatched: UnmatchedReturn[] = [];
  let matchedRows = 0;
  let matchedQuantity = 0;

  for (const row of returns) {
    const { line, invoice, sku, quantity } = row;
    const candidates = candidatesFor(row, byCustomer.get(row.customerId) ?? [], outcomeOf);
    if (typeof candidates === 'string') {
      unmatched.push({ line, invoice, sku, quantity, reason: candidates });
      continue;
    }
    let open = quantity;
    for (const { order, orderId } of candidates) {
      const stock = stocks.get(order) ?? new Pieces(order);
      stocks.set(order, stock);
      const { pieces, worthMinor } = stock.take(sku, open);
      if (pieces === 0) continue;
      open -= pieces;
      const key = JSON.stringify([invoice, order.invoice]);
      const draft = drafts.get(key) ?? { invoice, order, orderId, lines: new Map(), refundMinor: 0 };
      draft.lines.set(sku, (draft.lines.get(sku) ?? 0) + pieces);
      draft.refundMinor += worthMinor;
      drafts.set(key, draft);
    }
    matchedQuantity += quantity - open;
    if (open < quantity) matchedRows += 1;
    if (open > 0) unmatched.push({ line, invoice, sku, quantity: open, reason: 'no quantity left' });
  }
  const requests = [...drafts.values()].map(requestOf);
  return {
    requests,
    unmatched,
    matchedRows,
    matchedQuantity,
    refundMinor: requests.reduce((sum, { refundMinor }) => sum + refundMinor, 0),
  };
}

/** The completed orders that a row can return something of, the latest first; or why there are none. */
function candidatesFor(
  { line, sku }: PlannedReturn,
  ofCustomer: readonly PlannedOrder[],
  outcomeOf: (order: PlannedOrder) => OrderOutcome,
): { readonly order: PlannedOrder; readonly orderId: string }[] | UnmatchedReason {
  const earlier = ofCustomer.filter((order) => order.line < line);
  if (earlier.length === 0) return 'no earlier order of the customer';
  const withCode = earlier.filter(({ lines }) => lines.some((each) => each.sku === sku));
  if (withCode.length === 0) return 'in no earlier order of the customer';
  const outcomes = withCode.map((order) => ({ order, ...outcomeOf(order) }));
  if (outcomes.some(({ status }) => !final.has(status))) return 'its order has not ended';
  const completed = outcomes.flatMap(({ order, orderId, status }) =>
    status === 'completed' && orderId !== undefined ? [{ order, orderId }] : [],
  );
  if (completed.length === 0) return 'its order was not completed';
  return completed.sort((a, b) => b.order.line - a.order.line);
}

interface Draft {
  readonly invoice: string;
  readonly order: PlannedOrder;
  readonly orderId: string;
  readonly lines: Map<string, number>;
  refundMinor: number;
}

function requestOf({ invoice, order, orderId, lines, refundMinor }: Draft): ReturnRequest {
  const planned = [...lines].map(([sku, quantity]) => ({ sku, quantity }));
  const content = JSON.stringify([invoice, order.key, planned]);
  return {
    invoice,
    order,
    orderId,
    lines: planned,
    refundMinor,
    key: keyOf('import-return', invoice, content),
  };
}

/** What is left of an order's lines; a code that was bought at several prices is taken as its lines stand. */
class Pieces {
  readonly #left: { readonly sku: string; readonly unitPriceMinor: number; pieces: number }[];

  constructor({ lines }: PlannedOrder) {
    this.#left = lines.map(({ sku, quantity, unitPriceMinor }) => ({
      sku,
      unitPriceMinor,
      pieces: quantity,
    }));
  }

  take(sku: string, wanted: number): { readonly pieces: number; readonly worthMinor: number } {
    let pieces = 0;
    let worthMinor = 0;
    for (const line of this.#left.filter((each) => each.sku === sku)) {
      const taken = Math.min(line.pieces, wanted - pieces);
      line.pieces -= taken;
      pieces += taken;
      worthMinor += taken * line.unitPriceMinor;
    }
    return { pieces, worthMinor };
  }
}
