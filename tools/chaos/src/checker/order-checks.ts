import type { LedgerRow, Line, OneOrder, OrderRow } from './order-facts.ts';
import type { Findings } from './report.ts';
import { differing, readEvent, rebuild, type ReadEvent } from './view.ts';

const terminal: ReadonlySet<string> = new Set(['completed', 'rejected', 'cancelled']);
const terminalEvents: ReadonlySet<string> = new Set(['OrderCompleted', 'OrderRejected', 'OrderCancelled']);
const returnEvents: ReadonlySet<string> = new Set([
  'OrderReturnRequested',
  'OrderReturned',
  'OrderReturnClosed',
]);
/** The key under which a parcel is booked in that could not be delivered. */
const UNDELIVERED = 'undelivered';

/** Sums over all orders, in minor units. */
export interface MoneyTotals {
  authorised: bigint;
  captured: bigint;
  voided: bigint;
  refunded: bigint;
  /** What the completed orders are worth, less what came back of them. */
  worth: bigint;
}

export interface OrderCounts {
  found: number;
  completed: number;
  rejected: number;
  cancelled: number;
  open: number;
}

/** What the checks of single orders add up. */
export interface OrderTally {
  readonly money: MoneyTotals;
  readonly orders: OrderCounts;
}

export function newTally(): OrderTally {
  return {
    money: { authorised: 0n, captured: 0n, voided: 0n, refunded: 0n, worth: 0n },
    orders: { found: 0, completed: 0, rejected: 0, cancelled: 0, open: 0 },
  };
}

interface Judged extends OneOrder {
  readonly id: string;
  readonly order: OrderRow | undefined;
  readonly told: readonly ReadEvent[];
  readonly paid: readonly ReadEvent[];
  readonly moved: readonly ReadEvent[];
  readonly carried: readonly ReadEvent[];
}

/** Compares all that anybody says of one order. `historyFrom`: orders that are older have lost events by their age. */
export function checkOrder(
  id: string,
  facts: OneOrder,
  findings: Findings,
  tally: OrderTally,
  historyFrom: Date | undefined,
): void {
  const judged: Judged = {
    ...facts,
    id,
    order: facts.orders[0],
    told: facts.orderEvents.map(readEvent),
    paid: facts.paymentEvents.map(readEvent),
    moved: facts.stockEvents.map(readEvent),
    carried: facts.shippingEvents.map(readEvent),
  };
  const { order } = judged;
  count(order, tally.orders);
  checkAccepted(judged, findings);
  if (order === undefined) {
    checkOrphan(judged, findings);
    return;
  }
  const whole = historyFrom === undefined || order.placed_at >= historyFrom;
  if (whole) {
    checkEvents(judged, order, findings);
    checkViews(judged, findings);
  }
  checkSagas(judged, order, findings);
  checkMoney(judged, order, findings, tally.money);
  checkProvider(judged, findings);
  checkLedger(judged, findings);
  checkGoods(judged, order, findings);
  checkShipment(judged, order, findings);
  checkReturns(judged, order, findings);
  if (whole) checkMails(judged, findings);
}

function count(order: OrderRow | undefined, counts: OrderCounts): void {
  if (order === undefined) return;
  counts.found += 1;
  if (order.status === 'completed') counts.completed += 1;
  else if (order.status === 'rejected') counts.rejected += 1;
  else if (order.status === 'cancelled') counts.cancelled += 1;
  else counts.open += 1;
}

function checkAccepted({ id, order, expected }: Judged, findings: Findings): void {
  const [asked] = expected;
  if (asked === undefined) {
    if (order !== undefined && !terminal.has(order.status)) {
      findings.violate('terminal states', id, `the order is ${order.status}`);
    }
    return;
  }
  findings.count('accepted orders');
  const keys = new Set(expected.map(({ idempotencyKey }) => idempotencyKey));
  if (keys.size > 1)
    findings.violate('one order per key', id, `${keys.size} idempotency keys were given the same order`);
  if (order === undefined) {
    findings.violate('accepted orders', id, 'the order was accepted and is not there', { lost: true });
    return;
  }
  if (!terminal.has(order.status)) {
    findings.violate('accepted orders', id, `the order was accepted and is still ${order.status}`, {
      lost: true,
    });
  }
  if (asked.customerId !== undefined && asked.customerId !== order.customer_id) {
    findings.violate(
      'accepted orders',
      id,
      `it is of ${order.customer_id}, and was asked for by ${asked.customerId}`,
    );
  }
  if (asked.lines !== undefined && piecesBySku(asked.lines) !== piecesBySku(order.lines)) {
    findings.violate(
      'accepted orders',
      id,
      `it has ${piecesBySku(order.lines)}, and was asked for with ${piecesBySku(asked.lines)}`,
    );
  }
}

/** What is said of an order that there is not. */
function checkOrphan(facts: Judged, findings: Findings): void {
  const { id } = facts;
  const about = id === '' ? 'unknown' : id;
  const without = (
    check: Parameters<Findings['violate']>[0],
    rows: readonly unknown[],
    what: string,
  ): void => {
    if (rows.length > 0) findings.violate(check, about, `${what}, and there is no such order`);
  };
  without('orders and their events', facts.orderEvents, 'there are events');
  without('sagas', facts.sagas, 'there is a process');
  without('money of orders', facts.payments, 'there is a payment');
  without('money effects', [...facts.operations, ...facts.authorisations], 'the provider did something');
  without('ledger', facts.ledger, 'something is posted');
  without(
    'goods of orders',
    facts.reservations.filter(({ skus }) => skus.length > 0),
    'goods are held',
  );
  without('shipments', facts.shipments, 'there is a shipment');
  without('messages to customers', facts.mails, 'a customer was told something');
  without('read model', [...facts.views, ...facts.timeline, ...facts.movements], 'it is shown');
}

function checkEvents({ id, told }: Judged, order: OrderRow, findings: Findings): void {
  const versioned = told.filter(({ version }) => version !== null);
  findings.count('audit trail', versioned.length);
  let expected = 1;
  for (const { name, version, payload } of versioned) {
    if (version !== expected) {
      const why = Number(version) < expected ? 'comes again' : `comes where ${expected} should`;
      findings.violate('audit trail', id, `version ${version} (${name}) ${why}`);
    }
    if (payload['version'] !== version) {
      findings.violate(
        'audit trail',
        id,
        `${name} says version ${String(payload['version'])} and carries ${version}`,
      );
    }
    expected = Math.max(expected, Number(version)) + 1;
  }

  findings.count('terminal states');
  const ends = told.filter(({ name }) => terminalEvents.has(name));
  if (ends.length !== 1) {
    const names = ends.map(({ name }) => name).join(', ');
    findings.violate(
      'terminal states',
      id,
      ends.length === 0 ? 'no event ends the order' : `${ends.length} events end the order: ${names}`,
      { duplicated: ends.length > 1 },
    );
  }
  const [end] = ends;
  if (end !== undefined) {
    const after = versioned
      .filter(({ name, version }) => Number(version) > Number(end.version) && !terminalEvents.has(name))
      .filter(({ name }) => end.name !== 'OrderCompleted' || !returnEvents.has(name));
    for (const { name } of after) findings.violate('terminal states', id, `${name} comes after ${end.name}`);
  }

  findings.count('orders and their events');
  const said = rebuild(told, []).order;
  if (said === undefined) {
    findings.violate('orders and their events', id, 'the order has no event');
    return;
  }
  const { status, version, customer_id, total_minor, lines, rejection_reason } = said;
  const wrong = differing(
    { ...order },
    { status, version, customer_id, total_minor, lines, rejection_reason },
  );
  if (wrong.length > 0) findings.violate('orders and their events', id, `the order has ${wrong.join(', ')}`);
  const worth = worthOf(order.lines);
  if (worth !== BigInt(order.total_minor)) {
    findings.violate(
      'orders and their events',
      id,
      `the order costs ${order.total_minor}, its lines ${worth}`,
    );
  }
}

function checkViews(
  { id, told, paid, views, timeline, movements, returnViews }: Judged,
  findings: Findings,
): void {
  findings.count('read model');
  const rebuilt = rebuild(told, paid);
  const complain = (what: string): void => findings.violate('read model', id, what);
  const [view] = views;
  if (rebuilt.order !== undefined && view === undefined) complain('the order is not shown');
  if (rebuilt.order !== undefined && view !== undefined) {
    const wrong = differing({ ...view }, { ...rebuilt.order });
    if (wrong.length > 0) complain(`the order is shown with ${wrong.join(', ')}`);
  }
  compareRows('the timeline', timeline, rebuilt.timeline, ({ position }) => String(position), complain);
  compareRows('the payments', movements, rebuilt.movements, ({ entry }) => String(entry), complain);
  compareRows('the returns', returnViews, rebuilt.returns, ({ return_id }) => String(return_id), complain);
}

type Fields = Readonly<Record<string, unknown>>;

/** Which rows are missing, too many or different. */
function compareRows(
  name: string,
  rows: readonly object[],
  expected: readonly object[],
  keyOf: (row: Fields) => string,
  complain: (what: string) => void,
): void {
  const byKey = new Map(rows.map((row) => [keyOf(row as Fields), row as Fields]));
  for (const each of expected as readonly Fields[]) {
    const key = keyOf(each);
    const row = byKey.get(key);
    byKey.delete(key);
    if (row === undefined) complain(`${name} lacks ${key}`);
    else {
      const wrong = differing(row, each);
      if (wrong.length > 0) complain(`${name} has ${key} with ${wrong.join(', ')}`);
    }
  }
  for (const key of byKey.keys()) complain(`${name} has ${key}, which no event tells of`);
}

function checkSagas({ id, sagas, steps, returns }: Judged, order: OrderRow, findings: Findings): void {
  const about: [string, string, string, string][] = [
    ['fulfilment', id, order.status, 'order'],
    ...returns.map(({ return_id, status }): [string, string, string, string] => [
      'return',
      return_id,
      status,
      `return ${return_id}`,
    ]),
  ];
  for (const [saga, sagaId, status, what] of about) {
    findings.count('sagas');
    const own = sagas.filter((each) => each.saga === saga && each.id === sagaId);
    const [one] = own;
    if (one === undefined || own.length > 1) {
      findings.violate('sagas', id, `the ${what} has ${own.length} processes`, {
        duplicated: own.length > 1,
      });
      continue;
    }
    const ended = terminal.has(status) || status === 'expired';
    const expected = status === 'completed' ? 'completed' : 'compensated';
    if (ended && one.status !== expected) {
      findings.violate(
        'sagas',
        id,
        `the ${what} is ${status}, and its process ${one.status}${one.step === null ? '' : ` at ${one.step}`}`,
      );
    }
  }
  const known = new Set(about.map(([saga, sagaId]) => `${saga}:${sagaId}`));
  for (const { saga, id: sagaId } of sagas) {
    if (!known.has(`${saga}:${sagaId}`))
      findings.violate('sagas', id, `the process ${saga} of ${sagaId} is about nothing`);
  }

  // What is undone was tried before: each way of trying leaves a line with the step's name.
  const tried = new Set<string>();
  for (const { saga, id: sagaId, kind, step, detail } of steps) {
    const name = `${saga} ${sagaId} ${step}`;
    if (kind === 'undone') {
      findings.count('compensations');
      if (!tried.has(name))
        findings.violate('compensations', id, `step ${step} of ${saga} was undone, and never done`);
    } else if (step !== null && detail?.['undo'] !== true) tried.add(name);
  }
}

function checkMoney(
  { id, payments, refunds, returns, paid }: Judged,
  order: OrderRow,
  findings: Findings,
  totals: MoneyTotals,
): void {
  findings.count('money of orders');
  const complain = (what: string, duplicated = false): void =>
    findings.violate('money of orders', id, what, { duplicated });
  const total = BigInt(order.total_minor);
  const back = returns
    .filter(({ status }) => status === 'completed')
    .reduce((sum, { refund_minor }) => sum + BigInt(refund_minor), 0n);
  if (order.status === 'completed') totals.worth += total - back;
  if (payments.length > 1) complain(`there are ${payments.length} payments`, true);
  const [payment] = payments;
  const amount = BigInt(payment?.amount_minor ?? 0);
  const given = BigInt(payment?.refunded_minor ?? 0);
  const status = payment?.status ?? 'missing';
  const taken = status === 'captured' || status === 'refunded';
  if (status === 'authorised' || status === 'voided' || taken) totals.authorised += amount;
  if (status === 'voided') totals.voided += amount;
  if (taken) totals.captured += amount;
  totals.refunded += given;

  if (order.status === 'completed' && total > 0n) {
    if (!taken || amount !== total || given !== back) {
      complain(
        `the order is completed at ${total} with ${back} come back, its payment ${status} at ${amount} with ${given} paid back`,
      );
    }
  } else if (terminal.has(order.status) && payment !== undefined) {
    if (status === 'authorised' || (taken && given !== amount)) {
      complain(`the order is ${order.status}, its payment ${status} at ${amount} with ${given} paid back`);
    }
  }
  const settled = refunds.filter((each) => each.status === 'refunded');
  const refunded = settled.reduce((sum, { amount_minor }) => sum + BigInt(amount_minor), 0n);
  if (refunded !== given) complain(`refunds of ${refunded} are listed, and ${given} was paid back`);

  // The events say the same as the row.
  const of = (name: string): readonly ReadEvent[] => paid.filter((each) => each.name === name);
  for (const [name, is] of [
    ['PaymentAuthorised', status === 'authorised' || status === 'voided' || taken],
    ['PaymentCaptured', taken],
    ['PaymentVoided', status === 'voided'],
  ] as const) {
    const times = of(name).length;
    if (times > 1) complain(`${name} was told ${times} times`, true);
    else if ((times === 1) !== is)
      complain(`the payment is ${status}, and ${name} was ${is ? 'not told' : 'told'}`);
  }
  if (of('PaymentRefunded').length !== settled.length) {
    complain(`${settled.length} refunds, told ${of('PaymentRefunded').length} times`);
  }
}

function checkProvider({ id, operations, authorisations, payments }: Judged, findings: Findings): void {
  findings.count('money effects', operations.length);
  const complain = (what: string, duplicated = false): void =>
    findings.violate('money effects', id, what, { duplicated });
  const [payment] = payments;
  for (const outcome of ['authorised', 'captured', 'voided']) {
    const times = operations.filter((each) => each.outcome === outcome).length;
    if (times > 1) complain(`the provider has ${outcome} ${times} times`, true);
  }
  const did = (outcome: string): boolean => operations.some((each) => each.outcome === outcome);
  if (did('captured') && did('voided')) complain('the provider has captured and voided');
  const givenBack = operations
    .filter(({ outcome }) => outcome === 'refunded')
    .reduce((sum, { amount_minor }) => sum + BigInt(amount_minor ?? 0), 0n);
  if (authorisations.length > 1) complain(`the provider holds ${authorisations.length} authorisations`, true);
  const [held] = authorisations;
  if (held === undefined) {
    if (typeof payment?.reference === 'string') complain(`the provider does not know ${payment.reference}`);
    return;
  }
  if (givenBack !== BigInt(held.refunded_minor)) {
    complain(`the provider decided on refunds of ${givenBack}, and has paid back ${held.refunded_minor}`);
  }
  if (payment === undefined) {
    complain(`the provider has ${held.status} ${held.amount_minor}, and there is no payment`);
    return;
  }
  const ours = payment.status === 'refunded' ? 'captured' : payment.status;
  if (
    ours !== held.status ||
    payment.amount_minor !== held.amount_minor ||
    payment.refunded_minor !== held.refunded_minor
  ) {
    complain(
      `the provider has ${held.status} ${held.amount_minor} with ${held.refunded_minor} paid back, ` +
        `we ${payment.status} ${payment.amount_minor} with ${payment.refunded_minor}`,
    );
  }
}

function checkLedger({ id, ledger, payments }: Judged, findings: Findings): void {
  const postings = Map.groupBy(ledger, ({ transaction_id }) => transaction_id);
  findings.count('ledger', postings.size);
  const complain = (what: string, duplicated = false): void =>
    findings.violate('ledger', id, what, { duplicated });
  for (const [transaction, lines] of postings) {
    if (sumOf(lines) !== 0n) complain(`the posting ${transaction} does not balance: ${sumOf(lines)}`);
  }
  const kinds = Map.groupBy(postings.values(), ([first]) => first?.kind ?? '');
  for (const kind of ['authorise', 'capture', 'void']) {
    const times = kinds.get(kind)?.length ?? 0;
    if (times > 1) complain(`${kind} was posted ${times} times`, true);
  }
  const [payment] = payments;
  const amount = BigInt(payment?.amount_minor ?? 0);
  const given = BigInt(payment?.refunded_minor ?? 0);
  const taken = payment?.status === 'captured' || payment?.status === 'refunded';
  const blocked = payment?.status === 'authorised' ? amount : 0n;
  const captured = taken ? amount : 0n;
  const expected: Readonly<Record<string, bigint>> = {
    customer_authorised: blocked,
    authorisation_hold: -blocked,
    provider_clearing: captured - given,
    sales: -captured,
    refunds: given,
  };
  for (const [account, balance] of Object.entries(expected)) {
    const is = sumOf(ledger.filter((each) => each.account === account));
    if (is !== balance) complain(`the account ${account} stands at ${is} for ${balance}`);
  }
}

/** Debits less credits. */
function sumOf(lines: readonly LedgerRow[]): bigint {
  return lines.reduce(
    (sum, { direction, amount_minor }) => sum + (direction === 'debit' ? 1n : -1n) * BigInt(amount_minor),
    0n,
  );
}

function checkGoods(
  { id, reservations, receipts, shipments, moved }: Judged,
  order: OrderRow,
  findings: Findings,
): void {
  findings.count('goods of orders');
  const complain = (what: string, duplicated = false): void =>
    findings.violate('goods of orders', id, what, { duplicated });
  const [reservation] = reservations;
  const state = reservation?.state ?? 'none';
  const wanted = order.lines.filter(({ kind }) => kind === 'stocked');
  const held = (reservation?.skus ?? []).map((sku, at) => ({
    sku,
    quantity: Number(reservation?.quantities[at] ?? 0),
  }));
  if (held.length > 0 && piecesBySku(held) !== piecesBySku(wanted)) {
    complain(`it holds ${piecesBySku(held)}, and is of ${piecesBySku(wanted)}`);
  }
  if (order.status === 'completed' && wanted.length > 0) {
    if (state !== 'shipped' || held.length === 0) complain(`the order is completed, its goods are ${state}`);
  } else if (terminal.has(order.status) && order.status !== 'completed') {
    const cameBack = receipts
      .filter(({ return_key }) => return_key === UNDELIVERED)
      .map(({ skus, quantities }) =>
        piecesBySku(skus.map((sku, at) => ({ sku, quantity: Number(quantities[at]) }))),
      );
    const gone = shipments.some(({ status }) => status === 'lost') || cameBack.includes(piecesBySku(held));
    if (state === 'reserved' || (state === 'shipped' && !gone))
      complain(`the order is ${order.status}, its goods are ${state}`);
  }
  // A reservation is made once and ends once, and its events say so.
  const times = (...names: string[]): number => moved.filter(({ name }) => names.includes(name)).length;
  const made = times('StockReserved');
  const freed = times('StockReleased', 'StockReservationExpired');
  const left = times('StockShipped');
  const is: [string, number, number][] = [
    ['reserved', made, held.length > 0 ? 1 : 0],
    ['released', freed, state === 'released' && held.length > 0 ? 1 : 0],
    ['shipped', left, state === 'shipped' ? 1 : 0],
  ];
  for (const [what, told, expected] of is) {
    if (told !== expected)
      complain(`told ${told} times that goods were ${what}, for ${expected} (${state})`, told > 1);
  }
  if (freed > 0 && made === 0)
    findings.violate('compensations', id, 'goods were released that were never reserved');
}

function checkShipment({ id, shipments, carried }: Judged, order: OrderRow, findings: Findings): void {
  findings.count('shipments');
  const complain = (what: string, duplicated = false): void =>
    findings.violate('shipments', id, what, { duplicated });
  if (shipments.length > 1) complain(`there are ${shipments.length} shipments`, true);
  const status = shipments[0]?.status ?? 'missing';
  const goods = order.lines.some(({ kind }) => kind === 'stocked');
  if (order.status === 'completed' && goods && status !== 'delivered')
    complain(`the order is completed, its shipment ${status}`);
  if (order.status === 'completed' && !goods && status !== 'missing')
    complain(`the order has no goods, its shipment is ${status}`);
  const stopped = ['missing', 'cancelled', 'forestalled', 'failed', 'returned', 'lost'];
  if ((order.status === 'rejected' || order.status === 'cancelled') && !stopped.includes(status))
    complain(`the order is ${order.status}, its shipment ${status}`);
  for (const name of ['ShipmentDispatched', 'ShipmentDelivered']) {
    const times = carried.filter((each) => each.name === name).length;
    const expected = status === 'delivered' ? 1 : name === 'ShipmentDelivered' ? 0 : undefined;
    if (times > 1 || (expected !== undefined && times !== expected))
      complain(`${name} was told ${times} times for a shipment that is ${status}`, times > 1);
  }
}

function checkReturns(
  { id, returns, receipts, refunds, parcels }: Judged,
  order: OrderRow,
  findings: Findings,
): void {
  findings.count('returns', returns.length);
  const complain = (what: string, duplicated = false): void =>
    findings.violate('returns', id, what, { duplicated });
  const cameBack = new Map<string, number>();
  for (const { return_id, status, lines, refund_minor } of returns) {
    if (worthOf(lines) !== BigInt(refund_minor))
      complain(`the return ${return_id} is worth ${worthOf(lines)}, and pays back ${refund_minor}`);
    const booked = receipts.filter(({ return_key }) => return_key === return_id);
    const paid = refunds.filter(
      ({ refund_key, status: how }) => refund_key === return_id && how === 'refunded',
    );
    const arrived = status === 'received' || status === 'completed';
    if (status === 'completed' && booked.length !== 1)
      complain(
        `the return ${return_id} is completed, and booked in ${booked.length} times`,
        booked.length > 1,
      );
    if (!arrived && booked.length > 0) complain(`the return ${return_id} is ${status}, and booked in`);
    if (status === 'completed' && BigInt(refund_minor) > 0n && paid.length !== 1)
      complain(`the return ${return_id} is completed, and paid back ${paid.length} times`, paid.length > 1);
    if (status !== 'completed' && status !== 'received' && paid.length > 0)
      complain(`the return ${return_id} is ${status}, and paid back`);
    if (arrived && !parcels.some((each) => each.return_id === return_id && each.status === 'received'))
      complain(`the return ${return_id} is ${status}, and its parcel did not arrive`);
    if (status === 'expired' || status === 'cancelled') continue;
    for (const { sku, quantity } of lines) cameBack.set(sku, (cameBack.get(sku) ?? 0) + quantity);
  }
  for (const [sku, pieces] of cameBack) {
    const delivered = order.lines
      .filter((line) => line.sku === sku)
      .reduce((sum, { quantity }) => sum + quantity, 0);
    if (pieces > delivered) complain(`${pieces} of ${sku} come back, of ${delivered} that were delivered`);
  }
  const known = new Set(returns.map(({ return_id }) => return_id));
  for (const { return_key } of receipts) {
    if (return_key === UNDELIVERED ? order.status === 'completed' : !known.has(return_key))
      complain(`goods are booked in for ${return_key}, which did not come back`);
  }
}

/** What customers are told of. */
const toldOf: Readonly<Record<string, string>> = {
  OrderPlaced: 'placed',
  OrderConfirmed: 'confirmed',
  OrderShipped: 'shipped',
  OrderCompleted: 'completed',
  OrderRejected: 'rejected',
  OrderCancelled: 'cancelled',
  OrderCancellationRefused: 'cancellation-refused',
  OrderReturnRequested: 'return-requested',
  OrderReturned: 'returned',
  OrderReturnClosed: 'return-closed',
};

function checkMails({ id, told, mails }: Judged, findings: Findings): void {
  findings.count('messages to customers', mails.length);
  const expected = new Set(
    told.flatMap(({ name, payload }) => {
      const fact = toldOf[name];
      if (fact === undefined) return [];
      const { returnId } = payload;
      return typeof returnId === 'string' ? `${fact}:${returnId}` : fact;
    }),
  );
  const complain = (what: string, duplicated = false): void =>
    findings.violate('messages to customers', id, what, { duplicated });
  for (const [fact, sent] of Map.groupBy(mails, (mail) => mail.fact)) {
    if (sent.length > 1) complain(`the customer was told ${sent.length} times: ${fact}`, true);
    if (!expected.has(fact)) complain(`the customer was told "${fact}", which did not happen`);
    expected.delete(fact);
  }
  for (const fact of expected) complain(`the customer was not told: ${fact}`);
}

function worthOf(lines: readonly Line[]): bigint {
  return lines.reduce(
    (sum, { quantity, unitPriceMinor }) => sum + BigInt(quantity) * BigInt(unitPriceMinor),
    0n,
  );
}

/** One text for the same pieces, in whatever lines: "2 x A, 1 x B". */
function piecesBySku(lines: readonly { readonly sku: string; readonly quantity: number }[]): string {
  const pieces = new Map<string, number>();
  for (const { sku, quantity } of lines) pieces.set(sku, (pieces.get(sku) ?? 0) + quantity);
  return [...pieces]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([sku, quantity]) => `${quantity} x ${sku}`)
    .join(', ');
}
