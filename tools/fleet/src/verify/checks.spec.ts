import { runChecks, type CheckResult } from './checks.ts';
import type {
  FleetFacts,
  OrderFact,
  PaymentFact,
  ReservationFact,
  ReturnFact,
  ShipmentFact,
} from './facts.ts';

/** Two orders: one completed, one rejected after its payment was authorised. */
const order: OrderFact = {
  orderId: 'a',
  status: 'completed',
  version: 4,
  totalMinor: 500,
  linesMinor: 500,
  pieces: 3,
};
const rejected: OrderFact = {
  ...order,
  orderId: 'b',
  status: 'rejected',
  version: 2,
  totalMinor: 70,
  linesMinor: 70,
  pieces: 1,
};
const payment: PaymentFact = {
  orderId: 'a',
  status: 'captured',
  amountMinor: 500,
  refundedMinor: 0,
  open: false,
  reference: 'r-a',
};
const voided: PaymentFact = { ...payment, orderId: 'b', status: 'voided', amountMinor: 70, reference: 'r-b' };
const reservation: ReservationFact = { orderId: 'a', state: 'shipped', pieces: 3 };
const shipment: ShipmentFact = { orderId: 'a', status: 'delivered' };

const sound: FleetFacts = {
  orders: [order, rejected],
  sagas: [
    { saga: 'fulfilment', id: 'a', status: 'completed', step: null },
    { saga: 'fulfilment', id: 'b', status: 'compensated', step: null },
  ],
  views: [
    {
      orderId: 'a',
      status: 'completed',
      version: 4,
      totalMinor: 500,
      events: ['OrderPlaced', 'OrderConfirmed', 'OrderShipped', 'OrderCompleted'],
      authorisedMinor: 500,
      capturedMinor: 500,
      refundedMinor: 0,
    },
    {
      orderId: 'b',
      status: 'rejected',
      version: 2,
      totalMinor: 70,
      events: ['OrderPlaced', 'OrderRejected'],
      authorisedMinor: 70,
      capturedMinor: 0,
      refundedMinor: 0,
    },
  ],
  payments: [payment, voided],
  provider: [
    { reference: 'r-a', amountMinor: 500, status: 'captured', refundedMinor: 0 },
    { reference: 'r-b', amountMinor: 70, status: 'voided', refundedMinor: 0 },
  ],
  ledger: {
    debitsMinor: 1_640,
    creditsMinor: 1_640,
    unbalanced: [],
    postedMinor: { authorise: 570, capture: 500, void: 70 },
  },
  stock: [
    {
      sku: 'S',
      onHand: 7,
      reserved: 0,
      shipped: 3,
      received: 10,
      reservedByOrders: 0,
      shippedByOrders: 3,
      restocked: 0,
      restockedByReturns: 0,
    },
  ],
  reservations: [reservation, { orderId: 'b', state: 'released', pieces: 1 }],
  shipments: [shipment],
  returns: [],
  returnedLines: [],
  returnReceipts: [],
  returnViews: [],
  mail: [
    { orderId: 'a', facts: ['shipped', 'placed', 'completed', 'confirmed'], queued: 0, failed: 0 },
    { orderId: 'b', facts: ['placed', 'rejected'], queued: 0, failed: 0 },
  ],
  outboxes: [
    { service: 'orders', published: 9, unpublished: 0, refused: 0, lastSequence: { EVT_orders: 9 } },
  ],
  streams: [{ name: 'EVT_orders', queue: false, messages: 9, lastSequence: 9 }],
  consumers: [{ stream: 'EVT_orders', name: 'tracking', pending: 0, inFlight: 0 }],
  deadLetters: [],
  unread: [],
};

const failing = (changed: Partial<FleetFacts>): CheckResult[] =>
  runChecks({ ...sound, ...changed }).filter(({ ok }) => !ok);
const differences = (changed: Partial<FleetFacts>): string[] =>
  failing(changed).flatMap((each) => each.differences);

describe('verify', () => {
  it('holds for a sound fleet, and for one where nothing has happened', () => {
    expect(failing({})).toEqual([]);
    const nothing = Object.fromEntries(
      Object.entries(sound).map(([part]) => [
        part,
        part === 'ledger' ? { debitsMinor: 0, creditsMinor: 0, unbalanced: [], postedMinor: {} } : [],
      ]),
    ) as unknown as FleetFacts;
    expect(failing(nothing)).toEqual([]);
  });

  it('leaves out checks about services that do not exist', () => {
    const without = runChecks({ ...sound, payments: undefined, provider: undefined, ledger: undefined });
    expect(without.every(({ ok }) => ok)).toBe(true);
    expect(without.length).toBeLessThan(runChecks(sound).length);
  });

  it.each<[string, Partial<FleetFacts>, RegExp]>([
    [
      'an order that has not ended',
      { orders: [order, { ...rejected, status: 'pending' }] },
      /order b is pending/,
    ],
    ['an order without a saga', { sagas: sound.sagas?.slice(1) }, /order a has 0 sagas/],
    [
      'a saga that ended otherwise',
      { sagas: sound.sagas?.map((saga) => ({ ...saga, status: 'compensated' })) },
      /order a is completed, its saga compensated/,
    ],
    ['a saga without an order', { orders: [order] }, /saga fulfilment of b has no order/],
    [
      'a total that is not that of the lines',
      { orders: [{ ...order, linesMinor: 499 }, rejected] },
      /costs 500, its lines 499/,
    ],
    [
      'an order that tracking shows otherwise',
      { views: sound.views?.map((view) => ({ ...view, status: 'shipped' })) },
      /order a is shown with status shipped for completed/,
    ],
    ['an order that tracking does not show', { views: sound.views?.slice(1) }, /order a is not shown/],
    [
      'money that is neither captured nor voided',
      { payments: [payment, { ...voided, status: 'authorised' }] },
      /payment of order b is still authorised/,
    ],
    [
      'money captured for a rejected order',
      { payments: [payment, { ...voided, status: 'captured' }] },
      /the sums differ by 70/,
    ],
    [
      'another amount captured',
      { payments: [{ ...payment, amountMinor: 400 }, voided] },
      /order a is completed at 500, its payment captured 400/,
    ],
    [
      'a completed order that nobody paid',
      { payments: [voided] },
      /order a is completed at 500, its payment missing/,
    ],
    ['a payment without an order', { orders: [order] }, /payment of b has no order/],
    [
      'a ledger that does not balance',
      {
        ledger: {
          debitsMinor: 1,
          creditsMinor: 2,
          unbalanced: ['t-1'],
          postedMinor: { authorise: 570, capture: 500, void: 70 },
        },
      },
      /ledger transaction t-1 does not balance/,
    ],
    [
      'a capture that was posted twice',
      {
        ledger: {
          debitsMinor: 9,
          creditsMinor: 9,
          unbalanced: [],
          postedMinor: { authorise: 570, capture: 1_000, void: 70 },
        },
      },
      /posted as capture: 1000, the payments say 500/,
    ],
    [
      'money that only the provider knows of',
      {
        provider: [
          ...(sound.provider ?? []),
          { reference: 'r-c', amountMinor: 9, status: 'authorised', refundedMinor: 0 },
        ],
      },
      /the provider has r-c \(authorised, 9\), we have not/,
    ],
    [
      'a payment that the provider does not know',
      { provider: sound.provider?.slice(1) },
      /the provider does not know r-a/,
    ],
    [
      'stock that went missing',
      {
        stock: [
          {
            sku: 'S',
            onHand: 6,
            reserved: 0,
            shipped: 3,
            received: 10,
            reservedByOrders: 0,
            shippedByOrders: 3,
            restocked: 0,
            restockedByReturns: 0,
          },
        ],
      },
      /S: received 10 \+ restocked 0, but 6 \+ 0 \+ 3/,
    ],
    [
      'stock that is reserved for nobody',
      {
        stock: [
          {
            sku: 'S',
            onHand: 6,
            reserved: 1,
            shipped: 3,
            received: 10,
            reservedByOrders: 0,
            shippedByOrders: 3,
            restocked: 0,
            restockedByReturns: 0,
          },
        ],
      },
      /S: 1 reserved, the reservations hold 0/,
    ],
    [
      'goods held for a rejected order',
      { reservations: [reservation, { orderId: 'b', state: 'reserved', pieces: 1 }] },
      /order b is rejected, its reservation reserved/,
    ],
    [
      'goods of a completed order still there',
      { reservations: [{ ...reservation, state: 'reserved' }] },
      /its reservation is reserved with 3/,
    ],
    [
      'a completed order that was not delivered',
      { shipments: [{ ...shipment, status: 'created' }] },
      /order a is completed, its shipment created/,
    ],
    [
      'a rejected order that was delivered',
      { shipments: [shipment, { ...shipment, orderId: 'b' }] },
      /order b is rejected, its shipment delivered/,
    ],
    [
      'a customer who was not told',
      { mail: sound.mail?.slice(0, 1) },
      /order b: told nothing for placed, rejected/,
    ],
    [
      'a customer who was told twice',
      {
        mail: [
          {
            orderId: 'a',
            facts: ['placed', 'placed', 'confirmed', 'shipped', 'completed'],
            queued: 0,
            failed: 0,
          },
        ],
      },
      /order a: told completed, confirmed, placed, placed, shipped/,
    ],
    [
      'an outbox with unpublished messages',
      { outboxes: [{ service: 'orders', published: 9, unpublished: 2, refused: 1, lastSequence: {} }] },
      /orders: 2 unpublished, 1 of them refused/,
    ],
    [
      'a stream that lost messages',
      { streams: [{ name: 'EVT_orders', queue: false, messages: 4, lastSequence: 4 }] },
      /orders published 9 to EVT_orders, which ends at 4/,
    ],
    [
      'a consumer that is behind',
      { consumers: [{ stream: 'EVT_orders', name: 'tracking', pending: 3, inFlight: 1 }] },
      /EVT_orders\/tracking: 3 waiting, 1 in flight/,
    ],
    [
      'commands that no service handles',
      { streams: [...sound.streams, { name: 'CMD_fraud', queue: true, messages: 5, lastSequence: 5 }] },
      /CMD_fraud: 5 messages, and no service handles them/,
    ],
    [
      'a message that no consumer reads',
      {
        unread: [
          {
            stream: 'CMD_stock',
            subject: 'cmd.stock.Take.v9',
            messages: 2,
            since: '2030-01-01T00:00:00.000Z',
          },
        ],
      },
      /2 message\(s\) on cmd.stock.Take.v9 in CMD_stock since 2030-01-01T00:00:00Z, which no consumer reads/,
    ],
    [
      'a dead letter',
      {
        deadLetters: [
          {
            sequence: 1,
            service: 'orders',
            consumer: 'orders',
            type: 'x.Y.v1',
            subject: 'a',
            errorCode: 'BROKEN',
            errorMessage: 'it broke',
          },
        ],
      },
      /1: x.Y.v1 of a in orders\/orders: BROKEN it broke/,
    ],
  ])('finds %s', (_, changed, message) => {
    expect(differences(changed).join('\n')).toMatch(message);
  });

  it('allows what is right in unusual ways', () => {
    const free = { ...order, orderId: 'c', totalMinor: 0, linesMinor: 0, pieces: 0, version: 1 };
    const cancelled = { ...rejected, orderId: 'd', status: 'cancelled' };
    const refunded = { ...payment, orderId: 'd', status: 'refunded', amountMinor: 70, refundedMinor: 70 };
    const names = [
      'captured = completed orders + refunds',
      'every order with goods was shipped once',
      'shipped = goods of completed orders',
    ];
    const found = runChecks({
      ...sound,
      orders: [...(sound.orders ?? []), free, cancelled],
      payments: [payment, voided, refunded],
    });
    expect(found.filter(({ name }) => names.includes(name)).flatMap((each) => each.differences)).toEqual([]);
  });

  it('says what more time may put right', () => {
    expect(
      failing({ orders: [order, { ...rejected, status: 'pending' }] }).some(({ underWay }) => underWay),
    ).toBe(true);
    const lost = { streams: [{ name: 'EVT_orders', queue: false, messages: 4, lastSequence: 4 }] };
    expect(failing(lost).some(({ underWay }) => underWay)).toBe(false);
  });
});

describe('verify of returns', () => {
  /** Of the completed order's three pieces at 100 and more, two came back. */
  const back: ReturnFact = {
    returnId: 'r',
    orderId: 'a',
    status: 'completed',
    refundMinor: 200,
    linesMinor: 200,
    pieces: 2,
  };
  const [first, second] = sound.views ?? [];
  const [told, other] = sound.mail ?? [];
  const returned: Partial<FleetFacts> = {
    orders: [{ ...order, version: 6 }, rejected],
    returns: [back],
    returnedLines: [{ orderId: 'a', sku: 'S', unitPriceMinor: 100, delivered: 3, returned: 2 }],
    returnReceipts: [{ orderId: 'a', returnKey: 'r', pieces: 2 }],
    returnViews: [{ returnId: 'r', status: 'completed' }],
    sagas: [...(sound.sagas ?? []), { saga: 'return', id: 'r', status: 'completed', step: null }],
    views: [
      ...(first
        ? [
            {
              ...first,
              version: 6,
              events: [...first.events, 'OrderReturnRequested', 'OrderReturned'],
              refundedMinor: 200,
            },
          ]
        : []),
      ...(second ? [second] : []),
    ],
    payments: [{ ...payment, refundedMinor: 200 }, voided],
    provider: sound.provider?.map((each) =>
      each.reference === 'r-a' ? { ...each, refundedMinor: 200 } : each,
    ),
    ledger: {
      debitsMinor: 1_840,
      creditsMinor: 1_840,
      unbalanced: [],
      postedMinor: { authorise: 570, capture: 500, void: 70, refund: 200 },
    },
    stock: sound.stock?.map((each) => ({ ...each, onHand: 9, restocked: 2, restockedByReturns: 2 })),
    mail: [
      ...(told ? [{ ...told, facts: [...told.facts, 'return-requested', 'returned'] }] : []),
      ...(other ? [other] : []),
    ],
  };
  const off = (changed: Partial<FleetFacts>): string[] => differences({ ...returned, ...changed });

  it('holds when goods and money came back', () => expect(off({})).toEqual([]));

  it.each<[string, Partial<FleetFacts>, RegExp]>([
    [
      'more returned than delivered',
      { returnedLines: [{ orderId: 'a', sku: 'S', unitPriceMinor: 100, delivered: 3, returned: 4 }] },
      /order a: 4 of S at 100 returned, 3 delivered/,
    ],
    ['a return that is not paid back', { payments: [payment, voided] }, /the sums differ by 200/],
    [
      'more paid back than returned',
      { payments: [{ ...payment, refundedMinor: 300 }, voided] },
      /order a is completed at 500, its payment captured 500, 300 refunded/,
    ],
    ['a return of another worth', { returns: [{ ...back, linesMinor: 199 }] }, /is worth 200, its lines 199/],
    ['a return without a saga', { sagas: sound.sagas }, /return r has 0 sagas/],
    [
      'a return that has not ended',
      { returns: [{ ...back, status: 'received' }] },
      /return r of order a is received, its saga completed/,
    ],
    [
      'a return that ended twice',
      { sagas: [...(returned.sagas ?? []), { saga: 'return', id: 'r', status: 'completed', step: null }] },
      /return r has 2 sagas/,
    ],
    ['a saga without a return', { returns: [] }, /saga return of r has no return/],
    ['goods that were not booked in', { returnReceipts: [] }, /return r of 2 pieces, 0 booked in/],
    [
      'goods booked in that did not come back',
      { returns: [{ ...back, status: 'expired' }] },
      /booked in for r of order a, which did not come back/,
    ],
    [
      'stock that came from nowhere',
      {
        stock: sound.stock?.map((each) => ({ ...each, onHand: 9, restocked: 2, restockedByReturns: 1 })),
      },
      /S: 2 restocked, the receipts say 1/,
    ],
    [
      'a return that is shown otherwise',
      { returnViews: [{ returnId: 'r', status: 'requested' }] },
      /return r is completed, and shown requested/,
    ],
    [
      'a customer who was not told of it',
      { mail: sound.mail },
      /order a: told completed, confirmed, placed, shipped/,
    ],
  ])('finds %s', (_, changed, difference) => expect(off(changed).join('\n')).toMatch(difference));
});

describe('verify of a parcel that came back', () => {
  const cancelled = { ...rejected, status: 'cancelled', version: 4 };
  const [first, second] = sound.views ?? [];
  const undelivered: Partial<FleetFacts> = {
    orders: [order, cancelled],
    views: [
      ...(first ? [first] : []),
      ...(second
        ? [
            {
              ...second,
              status: 'cancelled',
              version: 4,
              events: ['OrderPlaced', 'OrderConfirmed', 'OrderShipped', 'OrderCancelled'],
              capturedMinor: 70,
              refundedMinor: 70,
            },
          ]
        : []),
    ],
    payments: [payment, { ...voided, status: 'refunded', refundedMinor: 70 }],
    provider: sound.provider?.map((each) =>
      each.reference === 'r-b' ? { ...each, status: 'captured', refundedMinor: 70 } : each,
    ),
    ledger: {
      debitsMinor: 1_710,
      creditsMinor: 1_710,
      unbalanced: [],
      postedMinor: { authorise: 570, capture: 570, refund: 70 },
    },
    reservations: [reservation, { orderId: 'b', state: 'shipped', pieces: 1 }],
    shipments: [shipment, { orderId: 'b', status: 'returned' }],
    returnReceipts: [{ orderId: 'b', returnKey: 'undelivered', pieces: 1 }],
    stock: sound.stock?.map((each) => ({
      ...each,
      shipped: 4,
      shippedByOrders: 4,
      restocked: 1,
      restockedByReturns: 1,
    })),
    mail: [
      ...(sound.mail?.slice(0, 1) ?? []),
      { orderId: 'b', facts: ['placed', 'confirmed', 'shipped', 'cancelled'], queued: 0, failed: 0 },
    ],
  };

  it('holds when it was booked in and paid back', () => expect(differences(undelivered)).toEqual([]));

  it('finds goods that left for a cancelled order and are nowhere', () =>
    expect(differences({ ...undelivered, returnReceipts: [] }).join('\n')).toMatch(
      /order b is cancelled, its reservation shipped/,
    ));

  it('holds for a lost parcel, of which nothing comes back', () =>
    expect(
      differences({
        ...undelivered,
        returnReceipts: [],
        shipments: [shipment, { orderId: 'b', status: 'lost' }],
        stock: sound.stock?.map((each) => ({ ...each, onHand: 6, shipped: 4, shippedByOrders: 4 })),
      }),
    ).toEqual([]));
});
