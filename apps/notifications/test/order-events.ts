import {
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderPlaced,
  OrderRejected,
  OrderReturnClosed,
  OrderReturned,
  OrderReturnRequested,
  OrderShipped,
} from '@flotilla/contracts-orders';
import { newId } from '@flotilla/kernel';

/** One order's events as the orders service publishes them. */
export class OrderStory {
  readonly orderId = newId();
  readonly customerId: string;
  readonly #email: string | undefined;

  constructor(customer: { readonly customerId: string; readonly email?: string }) {
    this.customerId = customer.customerId;
    this.#email = customer.email;
  }

  placed(): OrderPlaced {
    return new OrderPlaced({
      ...this.#fact(1),
      ...(this.#email !== undefined && { email: this.#email }),
      reference: '536365',
      lines: [
        { sku: '85123A', name: 'White hanging heart', kind: 'stocked', quantity: 6, unitPriceMinor: 255 },
      ],
      total: { amountMinor: 1_530, currency: 'GBP' },
      shipTo: { name: 'Ada', country: 'United Kingdom' },
    });
  }

  confirmed(): OrderConfirmed {
    return new OrderConfirmed(this.#fact(2));
  }

  shipped(): OrderShipped {
    return new OrderShipped({ ...this.#fact(3), trackingNumber: 'TRK-1' });
  }

  completed(): OrderCompleted {
    return new OrderCompleted({ ...this.#fact(4), total: { amountMinor: 1_530, currency: 'GBP' } });
  }

  rejected(): OrderRejected {
    return new OrderRejected({ ...this.#fact(2), reason: 'fraud', detail: 'score 0.97 by rule velocity' });
  }

  cancelled(): OrderCancelled {
    return new OrderCancelled({ ...this.#fact(3), reason: 'customer request' });
  }

  undeliverable(): OrderCancelled {
    return new OrderCancelled({ ...this.#fact(4), reason: 'nobody at the address', code: 'undeliverable' });
  }

  returnRequested(returnId: string): OrderReturnRequested {
    return new OrderReturnRequested({ ...this.#fact(5), ...ofReturn(returnId) });
  }

  returned(returnId: string): OrderReturned {
    return new OrderReturned({ ...this.#fact(6), ...ofReturn(returnId) });
  }

  returnExpired(returnId: string): OrderReturnClosed {
    return new OrderReturnClosed({
      ...this.#fact(6),
      ...ofReturn(returnId),
      outcome: 'expired',
      detail: 'the goods did not come back in time',
    });
  }

  #fact(version: number): { orderId: string; customerId: string; version: number; at: string } {
    return { orderId: this.orderId, customerId: this.customerId, version, at: new Date().toISOString() };
  }
}

function ofReturn(returnId: string) {
  return {
    returnId,
    lines: [{ sku: '85123A', quantity: 2, unitPriceMinor: 255, damaged: false }],
    refund: { amountMinor: 510, currency: 'GBP' },
  };
}
