import { SeededRandom } from '@flotilla/testing/simulation';

/** One order of a scenario and what its customer does with it. */
export interface PlannedOrder {
  readonly orderId: string;
  readonly customerId: string;
  readonly placeAtMs: number;
  readonly lines: readonly { readonly sku: string; readonly quantity: number }[];
  readonly paymentToken: string;
  /** The recipient's name, which tells the simulated carrier what happens to the parcel. */
  readonly recipient: string;
  /** When the customer asks to cancel, and asks again. */
  readonly cancelAtMs: readonly number[];
  /** What the reviewer decides, should the order await review; `none`: nobody looks at it. */
  readonly decision: 'approve' | 'reject' | 'none';
  /** What comes back once it is completed; returns of one order are requested at the same time. */
  readonly returns: readonly PlannedReturn[];
}

export interface PlannedReturn {
  readonly returnId: string;
  /** The share of each line that comes back, 0 to 1; at least a piece. */
  readonly share: number;
  readonly damaged: boolean;
}

/** What happens in one simulation but for faults. */
export interface Scenario {
  readonly products: readonly {
    readonly sku: string;
    readonly priceMinor: number;
    readonly onHand: number;
  }[];
  readonly orders: readonly PlannedOrder[];
  /** How many processes of each service run. */
  readonly replicas: Readonly<Record<string, number>>;
  /** Settings of the services beside the defaults. */
  readonly env: Readonly<Record<string, string>>;
  readonly ackWaitMs: number;
  /** How long a statement takes at most, in milliseconds; the longer, the more of them cross. */
  readonly statementMs: number;
}

const TOKENS = ['tok_ok', 'tok_ok', 'tok_ok', 'tok_ok', 'tok_ok', 'tok_flaky', 'tok_declined', 'tok_timeout'];
const RECIPIENTS = [
  'Ada',
  'Ada',
  'Ada',
  'Ada',
  'Ada',
  'carrier:late',
  'carrier:no-collection',
  'carrier:undeliverable',
  'carrier:return-lost',
];

/** Draws a scenario: a few orders that share few products, so that they meet. */
export function drawScenario(seed: number): Scenario {
  const random = new SeededRandom(seed, 'scenario');
  const products = Array.from({ length: random.int(1, 3) }, (_, index) => ({
    sku: `SKU-${index + 1}`,
    priceMinor: random.int(100, 9_000),
    onHand: random.chance(0.15) ? random.int(0, 6) : random.int(20, 60),
  }));
  const count = random.pick([1, 1, 2, 2, 3, 4]);
  const orders = Array.from({ length: count }, (_, index): PlannedOrder => {
    const placeAtMs = random.int(0, 3_000);
    const lines = products
      .filter(() => random.chance(0.7))
      .map(({ sku }) => ({ sku, quantity: random.int(1, 5) }));
    const cancels = random.chance(0.35);
    const returns = random.chance(0.4) ? random.pick([1, 1, 2]) : 0;
    return {
      orderId: random.uuid(),
      customerId: `customer-${index + 1}`,
      placeAtMs,
      lines: lines.length > 0 ? lines : [{ sku: products[0]?.sku ?? '', quantity: random.int(1, 5) }],
      paymentToken: random.pick(TOKENS),
      recipient: random.pick(RECIPIENTS),
      cancelAtMs: cancels
        ? Array.from({ length: random.int(1, 2) }, () => placeAtMs + Math.floor(random.next() ** 6 * 20_000))
        : [],
      decision: random.pick(['approve', 'approve', 'approve', 'reject', 'none'] as const),
      returns: Array.from({ length: returns }, () => ({
        returnId: random.uuid(),
        share: random.next(),
        damaged: random.chance(0.2),
      })),
    };
  });
  const reviews = random.chance(0.3);
  return {
    products,
    orders,
    replicas: {
      orders: random.chance(0.35) ? 2 : 1,
      inventory: random.chance(0.15) ? 2 : 1,
      payments: random.chance(0.25) ? 2 : 1,
      shipping: 1,
    },
    env: {
      SHIPPING_DISPATCH_DELAY_MS: String(random.pick([0, 0, 500, 3_000])),
      SHIPPING_DELIVERY_DELAY_MS: String(random.pick([0, 0, 1_000])),
      SHIPPING_RETURN_DELAY_MS: String(random.pick([0, 1_000, 9_000])),
      SHIPPING_RETRY_MAX_MS: '4000',
      ORDERS_RETURN_TIMEOUT_MS: '10000',
      ORDERS_REVIEW_TIMEOUT_MS: String(random.pick([2_000, 9_000])),
      ORDERS_SCREENING_TIMEOUT_MS: String(random.pick([800, 2_000, 30_000])),
      ORDERS_SCREENING_REVIEW_QUANTITY_ABOVE: reviews ? '2' : '0',
      ORDERS_SHIPPING_TIMEOUT_MS: '600000',
      LOG_LEVEL: 'warn',
    },
    ackWaitMs: random.pick([3_000, 6_000]),
    statementMs: random.pick([1, 1, 1, 60]),
  };
}
