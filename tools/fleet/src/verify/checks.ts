import { unreadLine } from '../operate/unread.ts';
import type { FleetFacts, OrderFact, PaymentFact, ReturnFact } from './facts.ts';

/** What one comparison found. */
export interface CheckResult {
  readonly name: string;
  readonly ok: boolean;
  /** The numbers that were compared, by what they are. */
  readonly numbers: Readonly<Record<string, number>>;
  /** Each a sentence with the ids concerned. */
  readonly differences: readonly string[];
  /** Whether more time may put it right: something is still under way. */
  readonly underWay: boolean;
}

interface Finding {
  readonly numbers: Readonly<Record<string, number>>;
  readonly differences: readonly string[];
  readonly underWay?: boolean;
}

type Facts<K extends keyof FleetFacts> = { readonly [P in K]: NonNullable<FleetFacts[P]> };

interface Check {
  readonly name: string;
  /** Undefined when a service that it is about does not exist. */
  readonly run: (facts: FleetFacts) => Finding | undefined;
}

function check<K extends keyof FleetFacts>(
  name: string,
  needs: readonly K[],
  run: (facts: FleetFacts & Facts<K>) => Finding,
): Check {
  return {
    name,
    run: (facts) =>
      needs.every((part) => facts[part] !== undefined) ? run(facts as FleetFacts & Facts<K>) : undefined,
  };
}

/** Compares everything with everything; checks about services that do not exist are left out. Pure. */
export function runChecks(facts: FleetFacts): CheckResult[] {
  return checks.flatMap(({ name, run }) => {
    const finding = run(facts);
    if (finding === undefined) return [];
    const { numbers, differences, underWay = false } = finding;
    return [{ name, ok: differences.length === 0, numbers, differences, underWay }];
  });
}

const ended: ReadonlySet<string> = new Set(['completed', 'rejected', 'cancelled']);
/** Payments of which the provider has blocked the amount at some time. */
const authorised: ReadonlySet<string> = new Set(['authorised', 'captured', 'refunded', 'voided']);
const captured: ReadonlySet<string> = new Set(['captured', 'refunded']);
/** Shipments that did not reach their customer, and never will. */
const givenUp: ReadonlySet<string> = new Set(['cancelled', 'forestalled', 'failed', 'returned', 'lost']);
const returnEnded: ReadonlySet<string> = new Set(['completed', 'expired', 'cancelled']);
/** The name of the saga of returns. */
const RETURN = 'return';
/** The key under which a parcel is booked in that could not be delivered. */
const UNDELIVERED = 'undelivered';

const checks: readonly Check[] = [
  check('every order has ended', ['orders'], ({ orders }) => {
    const open = orders.filter(({ status }) => !ended.has(status));
    return {
      numbers: {
        orders: orders.length,
        completed: orders.filter(({ status }) => status === 'completed').length,
        rejected: orders.filter(({ status }) => status === 'rejected').length,
        cancelled: orders.filter(({ status }) => status === 'cancelled').length,
        open: open.length,
      },
      differences: open.map(({ orderId, status }) => `order ${orderId} is ${status}`),
      underWay: open.length > 0,
    };
  }),

  check('every order has one saga, ended as the order did', ['orders', 'sagas'], (facts) => {
    const { orders } = facts;
    const sagas = facts.sagas.filter(({ saga }) => saga !== RETURN);
    const byId = Map.groupBy(sagas, ({ id }) => id);
    const known = new Set(orders.map(({ orderId }) => orderId));
    const expected = (status: string): string => (status === 'completed' ? 'completed' : 'compensated');
    const differences = [
      ...orders.flatMap(({ orderId, status }) => {
        const own = byId.get(orderId) ?? [];
        if (own.length !== 1) return [`order ${orderId} has ${own.length} sagas`];
        return own
          .filter((saga) => !ended.has(status) || saga.status !== expected(status))
          .map(
            (saga) => `order ${orderId} is ${status}, its saga ${saga.status} at ${saga.step ?? 'its end'}`,
          );
      }),
      ...sagas.filter(({ id }) => !known.has(id)).map(({ id, saga }) => `saga ${saga} of ${id} has no order`),
    ];
    const open = sagas.filter(({ status }) => status !== 'completed' && status !== 'compensated');
    return {
      numbers: {
        sagas: sagas.length,
        completed: sagas.filter(({ status }) => status === 'completed').length,
        compensated: sagas.filter(({ status }) => status === 'compensated').length,
        parked: sagas.filter(({ status }) => status === 'parked').length,
      },
      differences,
      underWay: open.some(({ status }) => status !== 'parked'),
    };
  }),

  check('every return has one saga, ended as the return did', ['returns', 'sagas'], (facts) => {
    const { returns } = facts;
    const sagas = facts.sagas.filter(({ saga }) => saga === RETURN);
    const byId = Map.groupBy(sagas, ({ id }) => id);
    const known = new Set(returns.map(({ returnId }) => returnId));
    const open = returns.filter(({ status }) => !returnEnded.has(status));
    return {
      numbers: {
        returns: returns.length,
        completed: returns.filter(({ status }) => status === 'completed').length,
        'without goods': returns.filter(({ status }) => status === 'expired' || status === 'cancelled')
          .length,
        open: open.length,
      },
      differences: [
        ...returns.flatMap(({ returnId, orderId, status }) => {
          const [own, ...others] = byId.get(returnId) ?? [];
          if (own === undefined || others.length > 0) {
            return [`return ${returnId} has ${own === undefined ? 0 : others.length + 1} sagas`];
          }
          const expected = status === 'completed' ? 'completed' : 'compensated';
          return returnEnded.has(status) && own.status === expected
            ? []
            : [
                `return ${returnId} of order ${orderId} is ${status}, its saga ${own.status} at ${own.step ?? 'its end'}`,
              ];
        }),
        ...sagas.filter(({ id }) => !known.has(id)).map(({ id }) => `saga ${RETURN} of ${id} has no return`),
      ],
      underWay: sagas.some(({ status }) => status === 'running' || status === 'compensating'),
    };
  }),

  check('no more is returned than was delivered', ['returnedLines'], ({ returnedLines }) => ({
    numbers: {
      lines: returnedLines.length,
      delivered: sum(returnedLines, ({ delivered }) => delivered),
      returned: sum(returnedLines, ({ returned }) => returned),
    },
    differences: returnedLines
      .filter(({ delivered, returned }) => returned > delivered)
      .map(
        ({ orderId, sku, unitPriceMinor, delivered, returned }) =>
          `order ${orderId}: ${returned} of ${sku} at ${unitPriceMinor} returned, ${delivered} delivered`,
      ),
  })),

  check('returns are worth what their lines are', ['returns'], ({ returns }) => ({
    numbers: {
      refunds: sum(returns, ({ refundMinor }) => refundMinor),
      lines: sum(returns, ({ linesMinor }) => linesMinor),
    },
    differences: returns
      .filter(({ refundMinor, linesMinor }) => refundMinor !== linesMinor)
      .map(
        ({ returnId, refundMinor, linesMinor }) =>
          `return ${returnId} is worth ${refundMinor}, its lines ${linesMinor}`,
      ),
  })),

  check('tracking shows every return as it is', ['returns', 'returnViews'], ({ returns, returnViews }) => {
    const shown = new Map(returnViews.map(({ returnId, status }) => [returnId, status]));
    // That the goods are here shows when the money is back.
    const expected = (status: string): string => (status === 'received' ? 'requested' : status);
    return {
      numbers: { returns: returns.length, views: returnViews.length },
      differences: returns
        .filter(({ returnId, status }) => shown.get(returnId) !== expected(status))
        .map(
          ({ returnId, status }) =>
            `return ${returnId} is ${status}, and shown ${shown.get(returnId) ?? 'nowhere'}`,
        ),
    };
  }),

  check('what was returned is booked in, once', ['orders', 'returns', 'returnReceipts'], (facts) => {
    const { orders, returns, returnReceipts } = facts;
    const receipts = new Map(returnReceipts.map(({ returnKey, pieces }) => [returnKey, pieces]));
    const known = new Map(returns.map((each) => [each.returnId, each]));
    const statuses = new Map(orders.map(({ orderId, status }) => [orderId, status]));
    return {
      numbers: {
        returned: sum(
          returns.filter(({ status }) => status === 'completed'),
          ({ pieces }) => pieces,
        ),
        'booked in': sum(returnReceipts, ({ pieces }) => pieces),
      },
      differences: [
        ...returns
          .filter(
            ({ returnId, status, pieces }) => status === 'completed' && receipts.get(returnId) !== pieces,
          )
          .map(
            ({ returnId, pieces }) =>
              `return ${returnId} of ${pieces} pieces, ${receipts.get(returnId) ?? 0} booked in`,
          ),
        ...returnReceipts
          .filter(({ orderId, returnKey }) =>
            returnKey === UNDELIVERED
              ? statuses.get(orderId) !== 'cancelled'
              : !['received', 'completed'].includes(known.get(returnKey)?.status ?? ''),
          )
          .map(
            ({ orderId, returnKey }) =>
              `booked in for ${returnKey} of order ${orderId}, which did not come back`,
          ),
      ],
    };
  }),

  check('orders cost what their lines do', ['orders'], ({ orders }) => ({
    numbers: {
      orders: sum(orders, ({ totalMinor }) => totalMinor),
      lines: sum(orders, ({ linesMinor }) => linesMinor),
    },
    differences: orders
      .filter(({ totalMinor, linesMinor }) => totalMinor !== linesMinor)
      .map(
        ({ orderId, totalMinor, linesMinor }) =>
          `order ${orderId} costs ${totalMinor}, its lines ${linesMinor}`,
      ),
  })),

  check('tracking shows every order as it is', ['orders', 'views'], ({ orders, views }) => {
    const byId = new Map(views.map((view) => [view.orderId, view]));
    const known = new Set(orders.map(({ orderId }) => orderId));
    return {
      numbers: {
        orders: orders.length,
        views: views.length,
        events: sum(views, ({ events }) => events.length),
      },
      differences: [
        ...orders.flatMap(({ orderId, status, version, totalMinor }) => {
          const view = byId.get(orderId);
          if (view === undefined) return [`order ${orderId} is not shown`];
          const wrong = [
            ...(view.status === status ? [] : [`status ${view.status} for ${status}`]),
            ...(view.version === version ? [] : [`version ${view.version} for ${version}`]),
            ...(view.totalMinor === totalMinor ? [] : [`total ${view.totalMinor} for ${totalMinor}`]),
            ...(view.events.length === version ? [] : [`${view.events.length} events for ${version}`]),
          ];
          return wrong.length === 0 ? [] : [`order ${orderId} is shown with ${wrong.join(', ')}`];
        }),
        ...views
          .filter(({ orderId }) => !known.has(orderId))
          .map(({ orderId }) => `${orderId} is shown and no order`),
      ],
    };
  }),

  check('authorised = captured + voided', ['payments'], ({ payments }) => {
    const of = (statuses: ReadonlySet<string>): number =>
      sum(
        payments.filter(({ status }) => statuses.has(status)),
        ({ amountMinor }) => amountMinor,
      );
    const held = payments.filter(({ status, open }) => status === 'authorised' || open);
    return {
      numbers: { authorised: of(authorised), captured: of(captured), voided: of(new Set(['voided'])) },
      differences: held.map(({ orderId, status }) => `payment of order ${orderId} is still ${status}`),
      underWay: held.length > 0,
    };
  }),

  check('captured + returned = completed orders + refunds', ['orders', 'payments'], (facts) => {
    const { orders, payments } = facts;
    const returns = (facts.returns ?? []).filter(({ status }) => status === 'completed');
    const completed = orders.filter(({ status }) => status === 'completed');
    const taken = payments.filter(({ status }) => captured.has(status));
    const numbers = {
      captured: sum(taken, ({ amountMinor }) => amountMinor),
      completed: sum(completed, ({ totalMinor }) => totalMinor),
      refunded: sum(taken, ({ refundedMinor }) => refundedMinor),
      returned: sum(returns, ({ refundMinor }) => refundMinor),
    };
    const off = numbers.captured + numbers.returned - numbers.completed - numbers.refunded;
    return {
      numbers,
      differences: [
        ...(off === 0 ? [] : [`the sums differ by ${off}`]),
        ...paymentDifferences(orders, payments, returns),
      ],
    };
  }),

  check('tracking shows every payment as it is', ['views', 'payments'], ({ views, payments }) => {
    const byOrder = new Map(payments.map((payment) => [payment.orderId, payment]));
    return {
      numbers: {
        authorised: sum(views, ({ authorisedMinor }) => authorisedMinor),
        captured: sum(views, ({ capturedMinor }) => capturedMinor),
        refunded: sum(views, ({ refundedMinor }) => refundedMinor),
      },
      differences: views.flatMap(({ orderId, authorisedMinor, capturedMinor, refundedMinor }) => {
        const payment = byOrder.get(orderId);
        const amount = payment?.amountMinor ?? 0;
        const status = payment?.status ?? '';
        const actual = [
          authorised.has(status) ? amount : 0,
          captured.has(status) ? amount : 0,
          payment?.refundedMinor ?? 0,
        ];
        const shown = [authorisedMinor, capturedMinor, refundedMinor];
        return shown.join() === actual.join()
          ? []
          : [
              `order ${orderId} is shown with ${shown.join(', ')} authorised, captured, refunded for ${actual.join(', ')}`,
            ];
      }),
    };
  }),

  check('the ledger balances and holds every payment', ['ledger', 'payments'], ({ ledger, payments }) => {
    const of = (statuses: ReadonlySet<string>): number =>
      sum(
        payments.filter(({ status }) => statuses.has(status)),
        ({ amountMinor }) => amountMinor,
      );
    const expected: Record<string, number> = {
      authorise: of(authorised),
      capture: of(captured),
      void: of(new Set(['voided'])),
      refund: sum(payments, ({ refundedMinor }) => refundedMinor),
    };
    return {
      numbers: { debits: ledger.debitsMinor, credits: ledger.creditsMinor },
      differences: [
        ...ledger.unbalanced.map((id) => `ledger transaction ${id} does not balance`),
        ...(ledger.debitsMinor === ledger.creditsMinor ? [] : ['debits and credits differ']),
        ...Object.entries(expected)
          .filter(([kind, amount]) => (ledger.postedMinor[kind] ?? 0) !== amount)
          .map(
            ([kind, amount]) =>
              `posted as ${kind}: ${ledger.postedMinor[kind] ?? 0}, the payments say ${amount}`,
          ),
      ],
    };
  }),

  check("the provider's books equal ours", ['payments', 'provider'], ({ payments, provider }) => {
    const ours = new Map(
      payments.flatMap((each) => (each.reference === null ? [] : [[each.reference, each]])),
    );
    const theirs = new Map(provider.map((each) => [each.reference, each]));
    return {
      numbers: {
        authorised: sum(provider, ({ amountMinor }) => amountMinor),
        captured: sum(
          provider.filter(({ status }) => status === 'captured'),
          ({ amountMinor }) => amountMinor,
        ),
        voided: sum(
          provider.filter(({ status }) => status === 'voided'),
          ({ amountMinor }) => amountMinor,
        ),
        refunded: sum(provider, ({ refundedMinor }) => refundedMinor),
      },
      differences: [
        ...provider.flatMap(({ reference, amountMinor, status, refundedMinor }) => {
          const payment = ours.get(reference);
          if (payment === undefined)
            return [`the provider has ${reference} (${status}, ${amountMinor}), we have not`];
          // The provider keeps a refund as an amount, not as a state.
          const state = payment.status === 'refunded' ? 'captured' : payment.status;
          return state === status &&
            payment.amountMinor === amountMinor &&
            payment.refundedMinor === refundedMinor
            ? []
            : [
                `order ${payment.orderId}: ours ${payment.status} ${payment.amountMinor} (${payment.refundedMinor} refunded), ` +
                  `the provider's ${status} ${amountMinor} (${refundedMinor} refunded)`,
              ];
        }),
        ...[...ours]
          .filter(([reference]) => !theirs.has(reference))
          .map(([reference, { orderId }]) => `order ${orderId}: the provider does not know ${reference}`),
      ],
    };
  }),

  check('received + restocked = on hand + reserved + shipped', ['stock'], ({ stock }) => ({
    numbers: {
      received: sum(stock, ({ received }) => received),
      restocked: sum(stock, ({ restocked }) => restocked),
      'on hand': sum(stock, ({ onHand }) => onHand),
      reserved: sum(stock, ({ reserved }) => reserved),
      shipped: sum(stock, ({ shipped }) => shipped),
    },
    differences: stock.flatMap((each) => [
      ...(each.received + each.restocked === each.onHand + each.reserved + each.shipped
        ? []
        : [
            `${each.sku}: received ${each.received} + restocked ${each.restocked}, but ${each.onHand} + ${each.reserved} + ${each.shipped}`,
          ]),
      ...(each.restocked === each.restockedByReturns
        ? []
        : [`${each.sku}: ${each.restocked} restocked, the receipts say ${each.restockedByReturns}`]),
      ...(each.reserved === each.reservedByOrders
        ? []
        : [`${each.sku}: ${each.reserved} reserved, the reservations hold ${each.reservedByOrders}`]),
      ...(each.shipped === each.shippedByOrders
        ? []
        : [`${each.sku}: ${each.shipped} shipped, the reservations say ${each.shippedByOrders}`]),
    ]),
  })),

  check('shipped = goods of completed orders', ['orders', 'reservations'], (facts) => {
    const { orders, reservations } = facts;
    const lost = new Set(
      (facts.shipments ?? []).filter(({ status }) => status === 'lost').map(({ orderId }) => orderId),
    );
    const cameBack = new Map(
      (facts.returnReceipts ?? [])
        .filter(({ returnKey }) => returnKey === UNDELIVERED)
        .map(({ orderId, pieces }) => [orderId, pieces]),
    );
    // What left and did not arrive is back, to the last piece, or lost.
    const accounted = (orderId: string): boolean =>
      lost.has(orderId) || cameBack.get(orderId) === byOrder.get(orderId)?.pieces;
    const byOrder = new Map(reservations.map((each) => [each.orderId, each]));
    const known = new Set(orders.map(({ orderId }) => orderId));
    return {
      numbers: {
        ordered: sum(
          orders.filter(({ status }) => status === 'completed'),
          ({ pieces }) => pieces,
        ),
        shipped: sum(
          reservations.filter(({ state }) => state === 'shipped'),
          ({ pieces }) => pieces,
        ),
        'came back or was lost': [...lost, ...cameBack.keys()].length,
        'held for ended orders': reservations.filter(({ state }) => state === 'reserved').length,
      },
      differences: [
        ...orders.flatMap(({ orderId, status, pieces }) => {
          const reservation = byOrder.get(orderId);
          const state = reservation?.state ?? 'none';
          if (status === 'completed' && pieces > 0) {
            return state === 'shipped' && reservation?.pieces === pieces
              ? []
              : [
                  `order ${orderId} is completed with ${pieces} pieces, its reservation is ${state} with ${reservation?.pieces ?? 0}`,
                ];
          }
          const holds = state === 'reserved' || (state === 'shipped' && !accounted(orderId));
          return ended.has(status) && holds
            ? [`order ${orderId} is ${status}, its reservation ${state}`]
            : [];
        }),
        ...reservations
          .filter(({ orderId }) => !known.has(orderId))
          .map(({ orderId, state }) => `reservation of ${orderId} (${state}) has no order`),
      ],
    };
  }),

  check('every order with goods was shipped once', ['orders', 'shipments'], ({ orders, shipments }) => {
    const byOrder = new Map(shipments.map((each) => [each.orderId, each.status]));
    const fits = ({ orderId, status, pieces }: OrderFact): boolean => {
      const shipment = byOrder.get(orderId);
      if (status === 'completed') return shipment === (pieces > 0 ? 'delivered' : undefined);
      return !ended.has(status) || shipment === undefined || givenUp.has(shipment);
    };
    return {
      numbers: {
        'completed with goods': orders.filter(({ status, pieces }) => status === 'completed' && pieces > 0)
          .length,
        delivered: shipments.filter(({ status }) => status === 'delivered').length,
        'given up': shipments.filter(({ status }) => givenUp.has(status)).length,
      },
      differences: orders
        .filter((order) => !fits(order))
        .map(
          ({ orderId, status }) =>
            `order ${orderId} is ${status}, its shipment ${byOrder.get(orderId) ?? 'missing'}`,
        ),
    };
  }),

  check('customers were told every fact once', ['views', 'mail'], ({ views, mail }) => {
    const byOrder = new Map(mail.map((each) => [each.orderId, each]));
    const queued = sum(mail, (each) => each.queued);
    return {
      numbers: {
        facts: sum(views, ({ events }) => factsOf(events).length),
        messages: sum(mail, ({ facts }) => ofEvents(facts).length),
        queued,
        failed: sum(mail, ({ failed }) => failed),
      },
      differences: [
        ...views.flatMap(({ orderId, events }) => {
          const expected = factsOf(events).join(', ');
          const told = ofEvents(byOrder.get(orderId)?.facts ?? [])
            .sort()
            .join(', ');
          return expected === told ? [] : [`order ${orderId}: told ${told || 'nothing'} for ${expected}`];
        }),
        ...mail
          .filter((each) => each.queued > 0)
          .map(({ orderId }) => `order ${orderId}: a message is not sent yet`),
      ],
      underWay: queued > 0,
    };
  }),

  check('every outbox is published', ['outboxes'], ({ outboxes }) => ({
    numbers: {
      published: sum(outboxes, ({ published }) => published),
      unpublished: sum(outboxes, ({ unpublished }) => unpublished),
      refused: sum(outboxes, ({ refused }) => refused),
    },
    differences: outboxes
      .filter(({ unpublished }) => unpublished > 0)
      .map(
        ({ service, unpublished, refused }) =>
          `${service}: ${unpublished} unpublished, ${refused} of them refused`,
      ),
    underWay: outboxes.some(({ unpublished, refused }) => unpublished > refused),
  })),

  check('the streams hold what was published', ['outboxes', 'streams'], ({ outboxes, streams }) => {
    const last = new Map(streams.map(({ name, lastSequence }) => [name, lastSequence]));
    return {
      numbers: { streams: streams.length, messages: sum(streams, ({ messages }) => messages) },
      differences: outboxes.flatMap(({ service, lastSequence }) =>
        Object.entries(lastSequence)
          .filter(([stream, sequence]) => sequence > (last.get(stream) ?? 0))
          .map(
            ([stream, at]) =>
              `${service} published ${at} to ${stream}, which ends at ${last.get(stream) ?? 0}`,
          ),
      ),
    };
  }),

  check('no message waits', ['consumers', 'streams'], ({ consumers, streams }) => {
    const behind = consumers.filter(({ pending, inFlight }) => pending + inFlight > 0);
    const consumed = new Set(consumers.map(({ stream }) => stream));
    const queues = streams.filter(
      ({ name, queue, messages }) => queue && messages > 0 && !consumed.has(name),
    );
    return {
      numbers: {
        consumers: consumers.length,
        waiting: sum(consumers, ({ pending }) => pending),
        'in flight': sum(consumers, ({ inFlight }) => inFlight),
        'for nobody': sum(queues, ({ messages }) => messages),
      },
      differences: [
        ...behind.map(
          ({ stream, name, pending, inFlight }) =>
            `${stream}/${name}: ${pending} waiting, ${inFlight} in flight`,
        ),
        ...queues.map(({ name, messages }) => `${name}: ${messages} messages, and no service handles them`),
      ],
      underWay: behind.length > 0,
    };
  }),

  check('every message has a reader', ['unread'], ({ unread }) => ({
    numbers: { unread: sum(unread, ({ messages }) => messages) },
    differences: unread.map(unreadLine),
  })),

  check('no dead letter', ['deadLetters'], ({ deadLetters }) => ({
    numbers: { 'dead letters': deadLetters.length },
    differences: deadLetters.map(
      ({ sequence, service, consumer, type, subject, errorCode, errorMessage }) =>
        `${sequence}: ${type} of ${subject} in ${service}/${consumer}: ${errorCode} ${errorMessage}`,
    ),
  })),
];

/** Whether each order's payment is what its end asks for. */
function paymentDifferences(
  orders: readonly OrderFact[],
  payments: readonly PaymentFact[],
  returns: readonly ReturnFact[],
): string[] {
  const returned = new Map<string, number>();
  for (const { orderId, refundMinor } of returns) {
    returned.set(orderId, (returned.get(orderId) ?? 0) + refundMinor);
  }
  const byOrder = new Map(payments.map((payment) => [payment.orderId, payment]));
  const known = new Set(orders.map(({ orderId }) => orderId));
  const wrong = orders.filter(({ orderId, status, totalMinor }) => {
    const payment = byOrder.get(orderId);
    const back = returned.get(orderId) ?? 0;
    if (status === 'completed') {
      if (totalMinor === 0) return payment !== undefined && payment.amountMinor !== 0;
      return (
        payment?.status !== (back === totalMinor ? 'refunded' : 'captured') ||
        payment.amountMinor !== totalMinor ||
        payment.refundedMinor !== back
      );
    }
    if (!ended.has(status) || payment === undefined) return false;
    return (
      payment.status === 'authorised' ||
      (captured.has(payment.status) && payment.refundedMinor !== payment.amountMinor)
    );
  });
  return [
    ...wrong.map(({ orderId, status, totalMinor }) => {
      const payment = byOrder.get(orderId);
      const paid = payment
        ? `${payment.status} ${payment.amountMinor}, ${payment.refundedMinor} refunded`
        : 'missing';
      return `order ${orderId} is ${status} at ${totalMinor}, its payment ${paid}`;
    }),
    ...payments
      .filter(({ orderId }) => !known.has(orderId))
      .map(({ orderId }) => `payment of ${orderId} has no order`),
  ];
}

/** The facts that customers are told of, by the event that makes them; sorted. */
const told: Readonly<Record<string, string>> = {
  OrderPlaced: 'placed',
  OrderConfirmed: 'confirmed',
  OrderShipped: 'shipped',
  OrderCompleted: 'completed',
  OrderRejected: 'rejected',
  OrderCancelled: 'cancelled',
  OrderReturnRequested: 'return-requested',
  OrderReturned: 'returned',
  OrderReturnClosed: 'return-closed',
};

const toldFacts = new Set(Object.values(told));

/** Those facts that an order's timeline shows; that a cancellation was refused changes no order, and is not in it. */
function ofEvents(facts: readonly string[]): string[] {
  return facts.filter((fact) => toldFacts.has(fact));
}

function factsOf(events: readonly string[]): string[] {
  return events.flatMap((event) => told[event] ?? []).sort();
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}
