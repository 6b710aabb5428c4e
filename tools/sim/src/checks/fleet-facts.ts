import type {
  FleetFacts,
  OrderFact,
  OutboxFact,
  ReturnedLineFact,
  ReturnFact,
  StockFact,
} from '@flotilla/fleet/verify/facts';
import type { SimulatedJetStream } from '@flotilla/messaging/simulation';
import { jsonOf, listOf, numberOf, textOf, textOrNull, type ReadRows, type Row } from '../world/rows.ts';

interface Line {
  readonly sku: string;
  readonly quantity: number;
  readonly unitPriceMinor: number;
  readonly kind?: 'stocked' | 'charge';
}

/** The services that have a database in the simulation. */
export const databases = ['inventory', 'orders', 'payments', 'shipping'] as const;

/** The facts that `fleet verify` compares, of the committed rows of a simulated fleet. Pure but for what it reads. */
export function fleetFactsOf(
  rows: ReadRows,
  broker: Pick<SimulatedJetStream, 'streams' | 'messages'>,
): FleetFacts {
  const orderRows = rows('orders', 'orders');
  const returnRows = rows('orders', 'order_returns');
  const receipts = rows('inventory', 'return_receipts');
  const reservations = rows('inventory', 'reservations');
  return {
    orders: orderRows.map(orderFact),
    sagas: rows('orders', 'saga_instances').map((row) => ({
      saga: textOf(row['saga']),
      id: textOf(row['id']),
      status: textOf(row['status']),
      step: textOrNull(row['step']),
    })),
    views: undefined,
    payments: rows('payments', 'payments').map((row) => ({
      orderId: textOf(row['order_id']),
      status: textOf(row['status']),
      amountMinor: numberOf(row['amount_minor']),
      refundedMinor: numberOf(row['refunded_minor']),
      open: row['status'] === 'pending' || row['in_flight'] !== null || numberOf(row['refunding_minor']) > 0,
      reference: textOrNull(row['reference']),
    })),
    provider: rows('payments', 'sandbox_provider.authorisations').map((row) => ({
      reference: textOf(row['reference']),
      amountMinor: numberOf(row['amount_minor']),
      status: textOf(row['status']),
      refundedMinor: numberOf(row['refunded_minor']),
    })),
    ledger: ledgerFacts(rows('payments', 'ledger_entries')),
    stock: stockFacts(rows('inventory', 'stock'), reservations, receipts),
    reservations: reservations.map((row) => ({
      orderId: textOf(row['order_id']),
      state: textOf(row['state']),
      pieces: sum(listOf(row['quantities']).map(numberOf)),
    })),
    shipments: rows('shipping', 'shipments').map((row) => ({
      orderId: textOf(row['order_id']),
      status: textOf(row['status']),
    })),
    returns: returnRows.map(returnFact),
    returnedLines: returnedLines(orderRows, returnRows),
    returnReceipts: receipts.map((row) => ({
      orderId: textOf(row['order_id']),
      returnKey: textOf(row['return_key']),
      pieces: sum(listOf(row['quantities']).map(numberOf)),
    })),
    returnViews: undefined,
    mail: undefined,
    // Every subject of the simulated streams has its consumer.
    unread: [],
    outboxes: databases.map((service) => outboxFact(service, rows(service, 'outbox'))),
    streams: broker.streams.map(({ name, isQueue, messages, lastSequence }) => ({
      name,
      queue: isQueue,
      messages: messages.size,
      lastSequence,
    })),
    consumers: broker.streams.flatMap(({ name: stream, consumers }) =>
      [...consumers.values()].map(({ name, waiting, unacknowledged }) => ({
        stream,
        name,
        pending: waiting,
        inFlight: unacknowledged,
      })),
    ),
    deadLetters: broker.messages('DLQ').map(({ sequence, headers }) => ({
      sequence,
      service: headers['flotilla-service'] ?? '',
      consumer: headers['flotilla-consumer'] ?? '',
      type: headers['ce-type'] ?? '',
      subject: headers['ce-subject'] ?? '',
      errorCode: headers['flotilla-error-code'] ?? '',
      errorMessage: headers['flotilla-error-message'] ?? '',
    })),
  };
}

function linesOf(row: Row): readonly Line[] {
  return jsonOf<readonly Line[]>(row['lines']);
}

function orderFact(row: Row): OrderFact {
  const lines = linesOf(row);
  return {
    orderId: textOf(row['order_id']),
    status: textOf(row['status']),
    version: numberOf(row['version']),
    totalMinor: numberOf(row['total_minor']),
    linesMinor: worth(lines),
    pieces: sum(lines.filter(({ kind }) => kind === 'stocked').map(({ quantity }) => quantity)),
  };
}

function returnFact(row: Row): ReturnFact {
  const lines = linesOf(row);
  return {
    returnId: textOf(row['return_id']),
    orderId: textOf(row['order_id']),
    status: textOf(row['status']),
    refundMinor: numberOf(row['refund_minor']),
    linesMinor: worth(lines),
    pieces: sum(lines.map(({ quantity }) => quantity)),
  };
}

function returnedLines(orders: readonly Row[], returns: readonly Row[]): ReturnedLineFact[] {
  const keyOf = (orderId: string, { sku, unitPriceMinor }: Line): string =>
    `${orderId} ${unitPriceMinor} ${sku}`;
  const delivered = new Map<string, number>();
  for (const order of orders) {
    if (order['status'] !== 'completed') continue;
    for (const line of linesOf(order)) {
      if (line.kind !== 'stocked') continue;
      const key = keyOf(textOf(order['order_id']), line);
      delivered.set(key, (delivered.get(key) ?? 0) + line.quantity);
    }
  }
  const returned = new Map<string, ReturnedLineFact>();
  for (const row of returns) {
    if (!['requested', 'received', 'completed'].includes(textOf(row['status']))) continue;
    for (const line of linesOf(row)) {
      const orderId = textOf(row['order_id']);
      const key = keyOf(orderId, line);
      returned.set(key, {
        orderId,
        sku: line.sku,
        unitPriceMinor: line.unitPriceMinor,
        delivered: delivered.get(key) ?? 0,
        returned: (returned.get(key)?.returned ?? 0) + line.quantity,
      });
    }
  }
  return [...returned.values()];
}

function ledgerFacts(entries: readonly Row[]): NonNullable<FleetFacts['ledger']> {
  const amount = (row: Row): number => numberOf(row['amount_minor']);
  const isDebit = (row: Row): boolean => row['direction'] === 'debit';
  const byTransaction = Map.groupBy(entries, (row) => textOf(row['transaction_id']));
  const postedMinor: Record<string, number> = {};
  for (const lines of byTransaction.values()) {
    // A capture is two movements, of which one gives up the authorisation: each posting counts by its last line.
    const last = lines.reduce((a, b) => (numberOf(b['line']) > numberOf(a['line']) ? b : a));
    const kind = textOf(last['kind']);
    postedMinor[kind] = (postedMinor[kind] ?? 0) + amount(last);
  }
  return {
    debitsMinor: sum(entries.filter(isDebit).map(amount)),
    creditsMinor: sum(entries.filter((row) => !isDebit(row)).map(amount)),
    unbalanced: [...byTransaction]
      .filter(([, lines]) => sum(lines.map((row) => (isDebit(row) ? amount(row) : -amount(row)))) !== 0)
      .map(([id]) => id),
    postedMinor,
  };
}

function stockFacts(
  stock: readonly Row[],
  reservations: readonly Row[],
  receipts: readonly Row[],
): StockFact[] {
  const held = new Map<string, { reserved: number; shipped: number; restocked: number }>();
  const of = (sku: string): { reserved: number; shipped: number; restocked: number } => {
    const known = held.get(sku) ?? { reserved: 0, shipped: 0, restocked: 0 };
    held.set(sku, known);
    return known;
  };
  for (const row of reservations) {
    const state = row['state'];
    if (state !== 'reserved' && state !== 'shipped') continue;
    const quantities = listOf(row['quantities']);
    for (const [at, sku] of listOf(row['skus']).entries()) of(textOf(sku))[state] += numberOf(quantities[at]);
  }
  for (const row of receipts) {
    const quantities = listOf(row['quantities']);
    const damaged = listOf(row['damaged']);
    for (const [at, sku] of listOf(row['skus']).entries())
      if (damaged[at] !== true) of(textOf(sku)).restocked += numberOf(quantities[at]);
  }
  const bySku = new Map(stock.map((row) => [textOf(row['sku']), row]));
  return [...new Set([...bySku.keys(), ...held.keys()])].sort().map((sku) => {
    const row = bySku.get(sku) ?? {};
    const { reserved, shipped, restocked } = of(sku);
    return {
      sku,
      onHand: numberOf(row['on_hand']),
      reserved: numberOf(row['reserved']),
      shipped: numberOf(row['shipped']),
      received: numberOf(row['received']),
      restocked: numberOf(row['restocked']),
      reservedByOrders: reserved,
      shippedByOrders: shipped,
      restockedByReturns: restocked,
    };
  });
}

function outboxFact(service: string, outbox: readonly Row[]): OutboxFact {
  const lastSequence: Record<string, number> = {};
  let published = 0;
  let refused = 0;
  for (const row of outbox) {
    if (row['published_at'] === null) {
      if (row['error'] !== null) refused++;
      continue;
    }
    published++;
    const stream = textOf(row['stream']);
    lastSequence[stream] = Math.max(lastSequence[stream] ?? 0, numberOf(row['sequence']));
  }
  return { service, published, unpublished: outbox.length - published, refused, lastSequence };
}

function worth(lines: readonly Line[]): number {
  return sum(lines.map(({ quantity, unitPriceMinor }) => quantity * unitPriceMinor));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}
