import type { Row } from '../world/rows.ts';
import { checkInvariants, type InvariantFacts } from './invariants.ts';

const now = Date.UTC(2030, 0, 1, 1);
const order = 'o-1';

let ids = 0;
const event = (type: string, version?: number): Row => ({
  subject: `evt.orders.${type}.v1.3.${order}`,
  key: order,
  headers: { 'ce-id': `event-${++ids}`, 'ce-type': `orders.${type}.v1` },
  body: JSON.stringify({ orderId: order, ...(version !== undefined && { version }) }),
});
const line = (sequence: number, kind: string, step: string | null): Row => ({
  saga: 'fulfilment',
  id: order,
  sequence: String(sequence),
  kind,
  step,
});
const operation = (key: string, outcome: string, reference: string): Row => ({ key, outcome, reference });

/** A fleet that completed one order, as the database has it: bigints as text. */
function fleet(): Record<string, Row[]> {
  return {
    'orders/orders': [{ order_id: order, version: 4 }],
    'orders/order_returns': [{ return_id: 'r-1' }],
    'orders/outbox': [
      event('OrderPlaced', 1),
      event('OrderConfirmed', 2),
      event('OrderShipped', 3),
      event('OrderCompleted', 4),
      event('OrderCancellationRefused'),
      { subject: 'cmd.shipping.CreateShipment.v1.3.o-1', key: order, headers: {}, body: '{}' },
    ],
    'orders/saga_instances': [
      { saga: 'fulfilment', id: order, due_at: null },
      { saga: 'return', id: 'r-1', due_at: new Date(now + 5_000) },
    ],
    'orders/saga_history': [
      line(1, 'started', null),
      line(2, 'replied', 'screen'),
      line(3, 'replied', 'reserve'),
      line(4, 'refused', 'authorise'),
      line(5, 'compensating', 'authorise'),
      line(6, 'undone', 'authorise'),
      line(7, 'undone', 'reserve'),
      line(8, 'compensated', null),
    ],
    'payments/payments': [{ order_id: order, reference: 'auth_1' }],
    'payments/sandbox_provider.operations': [
      operation(`${order}:authorise`, 'authorised', 'auth_1'),
      operation(`${order}:capture:2`, 'captured', 'auth_1'),
      operation('o-2:authorise', 'declined', ''),
    ],
    'inventory/stock': [
      { sku: 'A', on_hand: '3', reserved: '0', shipped: '2', received: '5', restocked: '0' },
    ],
    'inventory/reservations': [{ order_id: order, state: 'shipped', look_at: null }],
  };
}

function found(change: (rows: Record<string, Row[]>) => void, facts: Partial<InvariantFacts> = {}): string[] {
  const tables = fleet();
  change(tables);
  return checkInvariants({
    rows: (service, table) => tables[`${service}/${table}`] ?? [],
    streamed: [],
    now,
    placed: [order],
    returned: ['r-1'],
    cancelled: [],
    ...facts,
  });
}

const sameRow = (rows: Row[] | undefined, changes: Row): void => {
  if (rows?.[0]) rows[0] = { ...rows[0], ...changes };
};

describe('a fleet that has come to rest', () => {
  it('is as it must be', () => {
    expect(found(() => undefined)).toEqual([]);
  });

  it.each<[string, (rows: Record<string, Row[]>) => void, string]>([
    [
      'has lost an order',
      (rows) => (rows['orders/orders'] = []),
      'order o-1 was answered as placed, and is not there',
    ],
    [
      'has lost a return',
      (rows) => (rows['orders/order_returns'] = []),
      'return r-1 was answered, and is not there',
    ],
    [
      'has an order with two ends',
      (rows) => rows['orders/outbox']?.push(event('OrderCancelled', 5)),
      'order o-1 has 2 ends: orders.OrderCompleted.v1, orders.OrderCancelled.v1',
    ],
    ['has an order without an end', (rows) => rows['orders/outbox']?.splice(3, 1), 'order o-1 has 0 ends: '],
    [
      'has an event that nobody heard of',
      (rows) => rows['orders/outbox']?.splice(1, 1),
      'order o-1 is at version 4, and its events say 1, 3, 4',
    ],
    [
      'has an event that was told twice',
      (rows) => rows['orders/outbox']?.push(event('OrderShipped', 3)),
      'order o-1 is at version 4, and its events say 1, 2, 3, 3, 4',
    ],
    [
      'has authorised a payment twice',
      (rows) =>
        rows['payments/sandbox_provider.operations']?.push(
          operation(`${order}:authorise:again`, 'authorised', 'auth_2'),
        ),
      'order o-1 was authorised 2 times: auth_1, auth_2',
    ],
    [
      'has captured a payment twice',
      (rows) =>
        rows['payments/sandbox_provider.operations']?.push(
          operation(`${order}:capture:3`, 'captured', 'auth_1'),
        ),
      'captured o-1 2 times',
    ],
    [
      'has undone what had not begun',
      (rows) => rows['orders/saga_history']?.push(line(9, 'undone', 'ship')),
      'fulfilment o-1: ship was undone and had not begun',
    ],
    [
      'has undone a step twice',
      (rows) => rows['orders/saga_history']?.push(line(9, 'undone', 'reserve')),
      'fulfilment o-1: reserve was undone twice',
    ],
    [
      'has a timer that nobody fires',
      (rows) => sameRow(rows['orders/saga_instances'], { due_at: new Date(now - 60_000) }),
      'fulfilment o-1 is due since 2030-01-01T00:59:00.000Z',
    ],
    [
      'has less than nothing in stock',
      (rows) => sameRow(rows['inventory/stock'], { on_hand: '-1' }),
      'A: on_hand is -1',
    ],
    [
      'has a reservation that nobody looks at',
      (rows) =>
        sameRow(rows['inventory/reservations'], { state: 'reserved', look_at: new Date(now - 300_000) }),
      'the reservation of o-1 was to be looked at 300000 ms ago',
    ],
  ])('%s', (_, change, sentence) => {
    expect(found(change).map((each) => each.slice(each.indexOf(': ') + 2))).toContain(sentence);
  });

  it('has completed an order that was to be cancelled', () => {
    const completed = (rows: Record<string, Row[]>): void =>
      sameRow(rows['orders/orders'], { status: 'completed' });
    expect(found(completed, { cancelled: [order] })).toEqual([]);
    const untold = (rows: Record<string, Row[]>): void => {
      completed(rows);
      rows['orders/outbox'] = (rows['orders/outbox'] ?? []).filter(
        ({ subject }) => subject !== `evt.orders.OrderCancellationRefused.v1.3.${order}`,
      );
    };
    expect(found(untold, { cancelled: [order] })).toEqual([
      'a cancellation that was taken is carried out, or refused aloud: order o-1 is completed although its cancellation was taken',
    ]);
  });
});
