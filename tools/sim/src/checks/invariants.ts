import { jsonOf, numberOf, textOf, timeOf, type ReadRows, type Row } from '../world/rows.ts';

/** What is compared beside the books that `fleet verify` compares. */
export interface InvariantFacts {
  readonly rows: ReadRows;
  /** What the stream of the orders' events has, as rows of an outbox. */
  readonly streamed: readonly Row[];
  /** Simulated wall time, milliseconds since the epoch. */
  readonly now: number;
  /** Orders of which a customer has the answer that they are placed. */
  readonly placed: readonly string[];
  /** Returns of which a customer has the answer that they are requested. */
  readonly returned: readonly string[];
  /** Orders of which a customer has the answer that the wish to cancel was taken. */
  readonly cancelled: readonly string[];
}

type Invariant = (facts: InvariantFacts) => string[];

/** The events that end an order. */
const ENDINGS: ReadonlySet<string> = new Set([
  'orders.OrderCompleted.v1',
  'orders.OrderRejected.v1',
  'orders.OrderCancelled.v1',
]);
/** Events of an order that do not count as a version of it. */
const WITHOUT_VERSION: ReadonlySet<string> = new Set(['orders.OrderCancellationRefused.v1']);
/** A timer may be late by what a unit of work takes, and by the pause after a conflict, in milliseconds. */
const TIMER_LATE_MS = 15_000;

/** What must hold when a simulated fleet has come to rest, whatever happened before. Each finds sentences; none is good. */
export const invariants: Readonly<Record<string, Invariant>> = {
  'what a customer was promised is there': ({ rows, placed, returned }) => {
    const orders = new Set(rows('orders', 'orders').map((row) => textOf(row['order_id'])));
    const returns = new Set(rows('orders', 'order_returns').map((row) => textOf(row['return_id'])));
    return [
      ...placed
        .filter((id) => !orders.has(id))
        .map((id) => `order ${id} was answered as placed, and is not there`),
      ...returned.filter((id) => !returns.has(id)).map((id) => `return ${id} was answered, and is not there`),
    ];
  },

  'each order reaches one end, and says each of its changes once': ({ rows, streamed }) => {
    // Whoever wrote them: what was sent and not kept counts, and what a lost stream had.
    const sent = outboxEvents([...rows('orders', 'outbox'), ...streamed], 'evt.orders.');
    const events = Map.groupBy([...new Map(sent.map((each) => [each.id, each])).values()], ({ key }) => key);
    return rows('orders', 'orders').flatMap((row) => {
      const id = textOf(row['order_id']);
      const version = numberOf(row['version']);
      const own = events.get(id) ?? [];
      const ends = own.filter(({ type }) => ENDINGS.has(type));
      const versions = own
        .filter(({ type }) => !WITHOUT_VERSION.has(type))
        .map(({ body }) => numberOf(body['version']))
        .sort((a, b) => a - b);
      const expected = Array.from({ length: version }, (_, index) => index + 1);
      return [
        ...(ends.length === 1
          ? []
          : [`order ${id} has ${ends.length} ends: ${ends.map(({ type }) => type).join(', ')}`]),
        ...(versions.join() === expected.join()
          ? []
          : [`order ${id} is at version ${version}, and its events say ${versions.join(', ')}`]),
      ];
    });
  },

  'a cancellation that was taken is carried out, or refused aloud': ({ rows, cancelled }) => {
    const refused = new Set(
      outboxEvents(rows('orders', 'outbox'), 'evt.orders.OrderCancellationRefused.').map(({ body }) =>
        textOf(body['orderId']),
      ),
    );
    return rows('orders', 'orders').flatMap((row) => {
      const id = textOf(row['order_id']);
      return row['status'] === 'completed' && cancelled.includes(id) && !refused.has(id)
        ? [`order ${id} is completed although its cancellation was taken`]
        : [];
    });
  },

  'each external effect happened once': ({ rows }) => {
    const references = new Map(
      rows('payments', 'payments').map((row) => [textOf(row['reference']), textOf(row['order_id'])]),
    );
    const authorisations = new Map<string, string[]>();
    const effects = new Map<string, number>();
    for (const row of rows('payments', 'sandbox_provider.operations')) {
      const outcome = textOf(row['outcome']);
      const reference = textOf(row['reference']);
      if (outcome === 'authorised') {
        // The key of an authorisation names its order.
        const order = textOf(row['key']).split(':', 1)[0] ?? '';
        authorisations.set(order, [...(authorisations.get(order) ?? []), reference]);
      }
      if (outcome === 'captured' || outcome === 'voided') {
        const effect = `${outcome} ${references.get(reference) ?? reference}`;
        effects.set(effect, (effects.get(effect) ?? 0) + 1);
      }
    }
    return [
      ...[...authorisations]
        .filter(([, all]) => all.length > 1)
        .map(([order, all]) => `order ${order} was authorised ${all.length} times: ${all.join(', ')}`),
      ...[...effects].filter(([, times]) => times > 1).map(([effect, times]) => `${effect} ${times} times`),
    ];
  },

  'every compensation has its step': ({ rows }) => {
    const lines = Map.groupBy(
      rows('orders', 'saga_history'),
      (row) => `${textOf(row['saga'])} ${textOf(row['id'])}`,
    );
    return [...lines].flatMap(([saga, history]) => {
      const ordered = [...history].sort((a, b) => numberOf(a['sequence']) - numberOf(b['sequence']));
      const turn = ordered.findIndex((row) => row['kind'] === 'compensating');
      const undone = ordered.filter((row) => row['kind'] === 'undone').map((row) => textOf(row['step']));
      const before = new Set(
        (turn < 0 ? ordered : ordered.slice(0, turn + 1))
          .filter((row) => row['kind'] !== 'undone')
          .map((row) => textOf(row['step'])),
      );
      return [
        ...undone
          .filter((step) => !before.has(step) && turn >= 0)
          .map((step) => `${saga}: ${step} was undone and had not begun`),
        ...undone
          .filter((step, index) => undone.indexOf(step) !== index)
          .map((step) => `${saga}: ${step} was undone twice`),
      ];
    });
  },

  'no timer is overdue': ({ rows, now }) =>
    rows('orders', 'saga_instances').flatMap((row) => {
      const dueAt = timeOf(row['due_at']);
      return dueAt !== undefined && dueAt < now - TIMER_LATE_MS
        ? [`${textOf(row['saga'])} ${textOf(row['id'])} is due since ${new Date(dueAt).toISOString()}`]
        : [];
    }),

  'stock is never negative': ({ rows }) =>
    rows('inventory', 'stock').flatMap((row) =>
      ['on_hand', 'reserved', 'shipped', 'received', 'restocked']
        .filter((column) => numberOf(row[column]) < 0)
        .map((column) => `${textOf(row['sku'])}: ${column} is ${numberOf(row[column])}`),
    ),

  'a reservation that nobody confirmed has ended': ({ rows, now }) =>
    rows('inventory', 'reservations').flatMap((row) => {
      const lookAt = timeOf(row['look_at']);
      return row['state'] === 'reserved' && lookAt !== undefined && lookAt < now - 120_000
        ? [`the reservation of ${textOf(row['order_id'])} was to be looked at ${now - lookAt} ms ago`]
        : [];
    }),
};

/** Checks all of them; a sentence for each thing that is not as it must be. */
export function checkInvariants(facts: InvariantFacts): string[] {
  return Object.entries(invariants).flatMap(([name, check]) =>
    check(facts).map((found) => `${name}: ${found}`),
  );
}

interface OutboxEvent {
  readonly id: string;
  readonly key: string;
  readonly type: string;
  readonly body: Readonly<Record<string, unknown>>;
}

function outboxEvents(outbox: readonly Row[], prefix: string): OutboxEvent[] {
  return outbox
    .filter((row) => textOf(row['subject']).startsWith(prefix))
    .map((row) => ({
      id: jsonOf<Record<string, string>>(row['headers'])['ce-id'] ?? '',
      key: textOf(row['key']),
      type: jsonOf<Record<string, string>>(row['headers'])['ce-type'] ?? '',
      body: jsonOf<Record<string, unknown>>(textOf(row['body'])),
    }));
}
