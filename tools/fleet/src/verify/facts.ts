import type { UnreadMessages } from '../operate/unread.ts';

/** An order as its own service knows it. Amounts are minor units. */
export interface OrderFact {
  readonly orderId: string;
  readonly status: string;
  readonly version: number;
  readonly totalMinor: number;
  /** The sum of its lines. */
  readonly linesMinor: number;
  /** Pieces with stock behind them. */
  readonly pieces: number;
}

/** A return as the orders service knows it. */
export interface ReturnFact {
  readonly returnId: string;
  readonly orderId: string;
  readonly status: string;
  readonly refundMinor: number;
  /** What its lines are worth. */
  readonly linesMinor: number;
  readonly pieces: number;
}

/** One SKU of an order at one price: what was delivered of it and what returns have claimed. */
export interface ReturnedLineFact {
  readonly orderId: string;
  readonly sku: string;
  readonly unitPriceMinor: number;
  readonly delivered: number;
  readonly returned: number;
}

/** What came back into the warehouse: of a return, by its id, or of a parcel, as `undelivered`. */
export interface ReturnReceiptFact {
  readonly orderId: string;
  readonly returnKey: string;
  readonly pieces: number;
}

/** A return as the read side shows it. */
export interface ReturnViewFact {
  readonly returnId: string;
  readonly status: string;
}

export interface SagaFact {
  readonly saga: string;
  readonly id: string;
  readonly status: string;
  readonly step: string | null;
}

/** An order as the read side shows it. */
export interface ViewFact {
  readonly orderId: string;
  readonly status: string;
  readonly version: number;
  readonly totalMinor: number | null;
  /** The names of its events, in order. */
  readonly events: readonly string[];
  readonly authorisedMinor: number;
  readonly capturedMinor: number;
  readonly refundedMinor: number;
}

export interface PaymentFact {
  readonly orderId: string;
  readonly status: string;
  readonly amountMinor: number;
  readonly refundedMinor: number;
  /** Whether the provider is being asked for something. */
  readonly open: boolean;
  /** The provider's name for it; null when it never authorised. */
  readonly reference: string | null;
}

export interface AuthorisationFact {
  readonly reference: string;
  readonly amountMinor: number;
  readonly status: string;
  readonly refundedMinor: number;
}

export interface LedgerFacts {
  readonly debitsMinor: number;
  readonly creditsMinor: number;
  readonly unbalanced: readonly string[];
  /** What was posted, by kind: authorise, capture, void, refund. */
  readonly postedMinor: Readonly<Record<string, number>>;
}

export interface StockFact {
  readonly sku: string;
  readonly onHand: number;
  readonly reserved: number;
  readonly shipped: number;
  readonly received: number;
  /** What the reservations say of it. */
  readonly reservedByOrders: number;
  readonly shippedByOrders: number;
  /** What came back and can be sold again, and what the receipts of returns say of it. */
  readonly restocked: number;
  readonly restockedByReturns: number;
}

export interface ReservationFact {
  readonly orderId: string;
  readonly state: string;
  readonly pieces: number;
}

export interface ShipmentFact {
  readonly orderId: string;
  readonly status: string;
}

export interface MailFact {
  readonly orderId: string;
  /** What the customer was told: placed, confirmed, ... */
  readonly facts: readonly string[];
  readonly queued: number;
  readonly failed: number;
}

/** The outbox of one service. */
export interface OutboxFact {
  readonly service: string;
  readonly published: number;
  readonly unpublished: number;
  /** Of the unpublished: those that the broker will not take. */
  readonly refused: number;
  /** The last place that the broker gave to one of its messages, by stream. */
  readonly lastSequence: Readonly<Record<string, number>>;
}

export interface StreamFact {
  readonly name: string;
  /** Of commands or replies: somebody has to handle every message. */
  readonly queue: boolean;
  readonly messages: number;
  readonly lastSequence: number;
}

export interface ConsumerFact {
  readonly stream: string;
  readonly name: string;
  readonly pending: number;
  readonly inFlight: number;
}

export interface DeadLetterFact {
  readonly sequence: number;
  readonly service: string;
  readonly consumer: string;
  readonly type: string;
  readonly subject: string;
  readonly errorCode: string;
  readonly errorMessage: string;
}

/** Everything that is compared; a part is undefined when the workspace has no such service. */
export interface FleetFacts {
  readonly orders: readonly OrderFact[] | undefined;
  readonly sagas: readonly SagaFact[] | undefined;
  readonly views: readonly ViewFact[] | undefined;
  readonly payments: readonly PaymentFact[] | undefined;
  readonly provider: readonly AuthorisationFact[] | undefined;
  readonly ledger: LedgerFacts | undefined;
  readonly stock: readonly StockFact[] | undefined;
  readonly reservations: readonly ReservationFact[] | undefined;
  readonly shipments: readonly ShipmentFact[] | undefined;
  readonly returns: readonly ReturnFact[] | undefined;
  readonly returnedLines: readonly ReturnedLineFact[] | undefined;
  readonly returnReceipts: readonly ReturnReceiptFact[] | undefined;
  readonly returnViews: readonly ReturnViewFact[] | undefined;
  readonly mail: readonly MailFact[] | undefined;
  readonly outboxes: readonly OutboxFact[];
  readonly streams: readonly StreamFact[];
  readonly consumers: readonly ConsumerFact[];
  readonly deadLetters: readonly DeadLetterFact[];
  /** What no consumer reads. */
  readonly unread: readonly UnreadMessages[];
}
