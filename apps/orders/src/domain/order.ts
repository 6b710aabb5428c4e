import { FlotillaError } from '@flotilla/kernel';

export type OrderStatus =
  'pending' | 'awaiting_review' | 'confirmed' | 'shipped' | 'completed' | 'rejected' | 'cancelled';

/** What each status can turn into. */
const transitions: Readonly<Record<OrderStatus, readonly OrderStatus[]>> = {
  pending: ['awaiting_review', 'confirmed', 'rejected', 'cancelled'],
  awaiting_review: ['pending', 'confirmed', 'rejected', 'cancelled'],
  // An order of charges only has nothing to ship and completes at once.
  confirmed: ['shipped', 'completed', 'cancelled', 'rejected'],
  // Cancelled after it has left: the carrier could not deliver it, or lost it.
  shipped: ['completed', 'cancelled'],
  completed: [],
  rejected: [],
  cancelled: [],
};

/** Thrown when an order is asked to go where its status does not allow. */
export class InvalidTransitionError extends FlotillaError {
  readonly from: OrderStatus;
  readonly to: OrderStatus;

  constructor(orderId: string, from: OrderStatus, to: OrderStatus) {
    super('INVALID_TRANSITION', `Order ${orderId} is ${from} and cannot become ${to}`, { retry: 'never' });
    this.from = from;
    this.to = to;
  }
}

/** Thrown when goods of an order that was not completed would come back. */
export class NotCompletedError extends FlotillaError {
  constructor(orderId: string, status: OrderStatus) {
    super('NOT_COMPLETED', `Order ${orderId} is ${status}: only what was delivered can be returned`, {
      retry: 'never',
    });
  }
}

/** An order as it is stored; its lines do not change and are not needed to decide anything. */
export interface OrderState {
  readonly orderId: string;
  readonly customerId: string;
  readonly status: OrderStatus;
  /** Counts the order's events, from 1. */
  readonly version: number;
  readonly totalMinor: number;
  readonly currency: string;
}

/** The order aggregate: it decides; whoever calls it stores the new state and publishes what happened. */
export class Order {
  readonly state: OrderState;

  constructor(state: OrderState) {
    this.state = state;
  }

  /** A new order: pending, with its first event. */
  static place(placed: Omit<OrderState, 'status' | 'version'>): Order {
    return new Order({ ...placed, status: 'pending', version: 1 });
  }

  /** Whether the order has ended. */
  get isTerminal(): boolean {
    return transitions[this.state.status].length === 0;
  }

  /** The order one event later: something about a return of it happened, and its status stays. */
  noteReturn(): Order {
    const { status, orderId, version } = this.state;
    if (status !== 'completed') throw new NotCompletedError(orderId, status);
    return new Order({ ...this.state, version: version + 1 });
  }

  /** The order one event later, in another status. Throws {@link InvalidTransitionError}. */
  become(status: OrderStatus): Order {
    const from = this.state.status;
    if (!transitions[from].includes(status))
      throw new InvalidTransitionError(this.state.orderId, from, status);
    return new Order({ ...this.state, status, version: this.state.version + 1 });
  }
}
