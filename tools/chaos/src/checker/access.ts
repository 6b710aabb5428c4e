/** An order that the API accepted (202). */
export interface ExpectedOrder {
  readonly orderId: string;
  readonly idempotencyKey?: string;
  readonly customerId?: string;
  readonly lines?: readonly { readonly sku: string; readonly quantity: number }[];
}

/** A message that no service can handle, sent on purpose. */
export interface ExpectedPoison {
  /** Its `ce-id`, or its `Nats-Msg-Id`, or `<stream>:<sequence>` for one that has neither. */
  readonly id: string;
}

/** The databases of the fleet, each under the name of the service that owns it. */
export const services = [
  'catalog',
  'inventory',
  'notifications',
  'orders',
  'payments',
  'shipping',
  'tracking',
] as const;
export type ServiceName = (typeof services)[number];

/** How to reach everything that is read, and what is known from outside. */
export interface CheckAccess {
  /** One or several, with commas between them. */
  readonly natsUrl: string;
  readonly natsCredentials?: { readonly user: string; readonly password: string };
  /** The database of each service of {@link services}, as its owner; others are looked through for their outboxes. */
  readonly databases: Readonly<Record<string, string>>;
  readonly expected: {
    readonly orders: readonly ExpectedOrder[];
    readonly poison?: readonly ExpectedPoison[];
  };
  /** How long the fleet may take to come to rest before everything is compared, in milliseconds. Default 60,000. */
  readonly settleMs?: number;
  /** A timer is overdue so long after its time, in milliseconds. Default 30,000. */
  readonly overdueMs?: number;
  readonly onProgress?: (text: string) => void;
}
