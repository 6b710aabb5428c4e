import type { routes } from '../src/http/routes.ts';
import { anOrder, type Call, type GatewayUnderTest } from './gateway-under-test.ts';

/** Whose things the requests of the matrix are about. */
export const OWNER = 'customer-who-owns-it';
/** In every order, return and message of the owner: nobody else's answer may contain it. */
export const OWNERS_SECRET = 'only-the-owner-knows-this';

export interface MatrixRequest {
  readonly path: string;
  readonly call?: Call;
}

/** One request to a route, and the status of its answer to each who has the route's scope. */
export interface MatrixEntry {
  /** What is special about it, where a route has several. */
  readonly as?: string;
  readonly request: (gateway: GatewayUnderTest) => MatrixRequest;
  /** The owner, with the route's scope and no other. */
  readonly owner: number;
  /** Another customer, with the route's scope and no other. */
  readonly stranger: number;
  /** A program with every scope. */
  readonly operator: number;
}

const completed = ['pending', 'confirmed', 'shipped', 'completed'] as const;

/** An order of the owner that carries the secret, and a return of it. */
function ownersOrder(
  { fleet }: GatewayUnderTest,
  statuses: Parameters<GatewayUnderTest['fleet']['add']>[1] = completed,
): { readonly orderId: string; readonly returnId: string } {
  const orderId = fleet.add(OWNER, statuses);
  const order = fleet.orders.get(orderId);
  if (!order) throw new Error(`the test has no order ${orderId}`);
  fleet.orders.set(orderId, {
    ...order,
    reference: OWNERS_SECRET,
    shipTo: { ...order.shipTo, name: OWNERS_SECRET },
    timeline: order.timeline.map((entry) => ({ ...entry, detail: OWNERS_SECRET })),
  });
  const returnId = crypto.randomUUID();
  fleet.returns.set(orderId, [
    {
      returnId,
      status: 'requested',
      lines: [],
      refund: { amountMinor: 1, currency: 'GBP' },
      reason: OWNERS_SECRET,
      requestedAt: order.placedAt,
      updatedAt: order.updatedAt,
    },
  ]);
  return { orderId, returnId };
}

/** Reading something of an order: there for its owner and the operator, and for nobody else. */
const reading = (part: (ids: { orderId: string; returnId: string }) => string): readonly MatrixEntry[] => [
  {
    request: (gateway) => ({ path: `/v1/orders/${part(ownersOrder(gateway))}` }),
    owner: 200,
    stranger: 404,
    operator: 200,
  },
];

const toEverybody = (status: number) => ({ owner: status, stranger: status, operator: status });

/**
 * Every route with every kind of caller. A route that is not here is not tested for who may use it, and makes the
 * type check and the test fail.
 */
export const authorisationMatrix: Readonly<Record<keyof typeof routes, readonly MatrixEntry[]>> = {
  placeOrder: [
    {
      as: 'for the caller',
      request: () => ({ path: '/v1/orders', call: { body: anOrder() } }),
      ...toEverybody(202),
    },
    {
      as: 'for the owner',
      request: () => ({ path: '/v1/orders', call: { body: anOrder({ customerId: OWNER }) } }),
      owner: 202,
      stranger: 403,
      operator: 202,
    },
    {
      as: 'at an agreed price',
      request: () => ({
        path: '/v1/orders',
        call: {
          body: anOrder({
            lines: [{ sku: 'LAMP', quantity: 1, unitPrice: { amount: '0.01', currency: 'GBP' } }],
          }),
        },
      }),
      owner: 403,
      stranger: 403,
      operator: 202,
    },
  ],
  listOrders: [
    { as: 'of all', request: () => ({ path: '/v1/orders?limit=200' }), ...toEverybody(200) },
    {
      as: 'of the owner',
      request: () => ({ path: `/v1/orders?customerId=${OWNER}` }),
      ...toEverybody(200),
    },
  ],
  getOrder: reading(({ orderId }) => orderId),
  orderEvents: reading(({ orderId }) => `${orderId}/events`),
  orderNotifications: reading(({ orderId }) => `${orderId}/notifications`),
  listReturns: reading(({ orderId }) => `${orderId}/returns`),
  getReturn: reading(({ orderId, returnId }) => `${orderId}/returns/${returnId}`),
  cancelOrder: [
    {
      request: (gateway) => ({ path: `/v1/orders/${ownersOrder(gateway, ['pending']).orderId}/cancel` }),
      owner: 202,
      stranger: 404,
      operator: 202,
    },
  ],
  requestReturn: [
    {
      request: (gateway) => ({
        path: `/v1/orders/${ownersOrder(gateway).orderId}/returns`,
        call: { body: { lines: [{ sku: 'LAMP', quantity: 1 }] } },
      }),
      owner: 202,
      stranger: 404,
      operator: 202,
    },
  ],
  // Who may review may review anybody's order: the scope is not a customer's.
  reviewOrder: [
    {
      request: (gateway) => ({
        path: `/v1/orders/${ownersOrder(gateway, ['pending', 'awaiting_review']).orderId}/review`,
        call: { body: { decision: 'approve' } },
      }),
      ...toEverybody(202),
    },
  ],
  listProducts: [{ request: () => ({ path: '/v1/products' }), ...toEverybody(200) }],
  getProduct: [{ request: () => ({ path: '/v1/products/LAMP' }), ...toEverybody(200) }],
  defineProduct: [
    {
      request: () => ({
        path: '/v1/products/LAMP',
        call: { body: { name: 'A lamp', kind: 'stocked', price: { amount: '2.55', currency: 'GBP' } } },
      }),
      ...toEverybody(200),
    },
  ],
  getStock: [{ request: () => ({ path: '/v1/stock/LAMP' }), ...toEverybody(200) }],
  receiveStock: [
    {
      request: () => ({ path: '/v1/stock/LAMP/receipts', call: { body: { quantity: 1 } } }),
      ...toEverybody(201),
    },
  ],
  issueToken: [{ request: () => ({ path: '/v1/auth/token', call: { body: {} } }), ...toEverybody(200) }],
  keys: [{ request: () => ({ path: '/.well-known/jwks.json' }), ...toEverybody(200) }],
};
