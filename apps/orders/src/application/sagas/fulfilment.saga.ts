import { ScreenOrder } from '@flotilla/contracts-fraud';
import { ReleaseStock, ReserveStock } from '@flotilla/contracts-inventory';
import { OrderReviewed } from '@flotilla/contracts-orders';
import { AuthorisePayment, CapturePayment, RefundPayment, VoidPayment } from '@flotilla/contracts-payments';
import type { Address } from '@flotilla/contracts-shipping';
import {
  CancelShipment,
  CreateShipment,
  ShipmentDelivered,
  ShipmentDispatched,
} from '@flotilla/contracts-shipping';
import { abort, command, defineSaga, local, waitFor, type SagaReason } from '@flotilla/saga';

/** What the saga carries: the order as it was placed, and the limits that held when it was. */
export interface FulfilmentData {
  readonly orderId: string;
  readonly customerId: string;
  readonly total: { readonly amountMinor: number; readonly currency: string };
  readonly lineCount: number;
  /** The lines with stock behind them. */
  readonly stocked: readonly { readonly sku: string; readonly quantity: number }[];
  readonly largestQuantity: number;
  readonly paymentToken: string;
  readonly shipTo: Address;
  /** Totals above this wait for a person when screening does not answer, in minor units. */
  readonly reviewAboveMinor: number;
  /** Why a person has to decide, once that is so. */
  readonly review?: string;
  readonly trackingNumber?: string;
}

/** What the saga does in the orders' own database. */
export interface FulfilmentActions {
  awaitReview(orderId: string, why: string): Promise<void>;
  confirm(orderId: string): Promise<void>;
  ship(orderId: string, trackingNumber: string): Promise<void>;
  complete(orderId: string): Promise<void>;
  /** Ends an order that could not be fulfilled, or that the customer cancelled: `reason.code` says which. */
  giveUp(orderId: string, reason: SagaReason): Promise<void>;
}

export interface FulfilmentTimeouts {
  readonly screeningTimeoutMs: number;
  readonly reviewTimeoutMs: number;
  readonly shippingTimeoutMs: number;
}

const hasGoods = (order: FulfilmentData): boolean => order.stocked.length > 0;
const hasPrice = (order: FulfilmentData): boolean => order.total.amountMinor > 0;
const needsReview = (order: FulfilmentData): boolean => order.review !== undefined;

/**
 * The life of an order: screen, reserve, authorise, confirm (the pivot), capture, ship, complete. Up to the pivot
 * a failure undoes what was done; after it the order goes forward, unless the customer cancels before it ships.
 */
export function fulfilmentSaga(timeouts: FulfilmentTimeouts) {
  return defineSaga<FulfilmentData, FulfilmentActions>(
    {
      name: 'fulfilment',
      version: 1,
      cancellableUntil: 'ship',
      onCompleted: (order, actions) => actions.complete(order.orderId),
      onCompensated: (order, actions, reason) => actions.giveUp(order.orderId, reason),
    },
    [
      command('screen', ScreenOrder, {
        send: ({ orderId, customerId, total, shipTo, lineCount, largestQuantity }) => ({
          orderId,
          customerId,
          total,
          country: shipTo.country,
          lineCount,
          largestQuantity,
        }),
        timeoutMs: timeouts.screeningTimeoutMs,
        retries: 0,
        onReply: (order, { verdict, reasons }) => {
          if (verdict === 'reject') return abort('fraud', reasons.join('; '));
          return verdict === 'review' ? { ...order, review: reasons.join('; ') } : order;
        },
        // Degraded, not down: small orders pass without a verdict.
        onTimeout: withoutVerdict,
        onFailed: withoutVerdict,
      }),
      local('ask-reviewer', {
        when: needsReview,
        run: async (order, actions) => {
          await actions.awaitReview(order.orderId, order.review ?? '');
          return order;
        },
      }),
      waitFor('reviewed', OrderReviewed, {
        when: needsReview,
        timeoutMs: timeouts.reviewTimeoutMs,
        onEvent: (order, { decision, reviewer }) =>
          decision === 'approve' ? order : abort('fraud', `rejected by ${reviewer}`),
        onTimeout: () => abort('fraud', 'nobody reviewed it in time'),
      }),
      command('reserve', ReserveStock, {
        when: hasGoods,
        send: ({ orderId, stocked }) => ({ orderId, lines: [...stocked] }),
        timeoutMs: 30_000,
        onRefused: {
          OutOfStock: (_, { shortages }) =>
            abort(
              'out_of_stock',
              shortages
                .map(({ sku, requested, available }) => `${sku}: ${available} of ${requested}`)
                .join(', '),
            ),
        },
        compensate: {
          command: ReleaseStock,
          send: ({ orderId }) => ({ orderId, reason: 'order given up' }),
        },
      }),
      command('authorise', AuthorisePayment, {
        when: hasPrice,
        send: ({ orderId, customerId, total, paymentToken }) => ({
          orderId,
          customerId,
          amount: total,
          token: paymentToken,
        }),
        timeoutMs: 60_000,
        onRefused: {
          PaymentDeclined: (_, { reason }) => abort('payment_declined', reason),
        },
        compensate: {
          command: VoidPayment,
          send: ({ orderId }) => ({ orderId, reason: 'order given up' }),
        },
      }),
      local('confirm', {
        pivot: true,
        run: async (order, actions) => {
          await actions.confirm(order.orderId);
          return order;
        },
      }),
      command('capture', CapturePayment, {
        when: hasPrice,
        send: ({ orderId }) => ({ orderId }),
        timeoutMs: 60_000,
        retries: 5,
        compensate: {
          command: RefundPayment,
          send: ({ orderId }) => ({ orderId, refundKey: 'cancellation', reason: 'order cancelled' }),
          // The capture whose outcome was unknown never happened: the void gives the money back.
          tolerate: ['NotCaptured'],
        },
      }),
      command('ship', CreateShipment, {
        when: hasGoods,
        send: ({ orderId, shipTo, stocked }) => ({ orderId, shipTo, lines: [...stocked] }),
        timeoutMs: 30_000,
        retries: 5,
        compensate: {
          command: CancelShipment,
          send: ({ orderId }) => ({ orderId, reason: 'order given up' }),
        },
      }),
      waitFor('dispatched', ShipmentDispatched, {
        when: hasGoods,
        timeoutMs: timeouts.shippingTimeoutMs,
        onEvent: (order, { trackingNumber }) => ({ ...order, trackingNumber }),
        onTimeout: 'park',
      }),
      local('mark-shipped', {
        when: hasGoods,
        run: async (order, actions) => {
          await actions.ship(order.orderId, order.trackingNumber ?? '');
          return order;
        },
      }),
      waitFor('delivered', ShipmentDelivered, {
        when: hasGoods,
        timeoutMs: timeouts.shippingTimeoutMs,
        onTimeout: 'park',
      }),
    ],
  );
}

function withoutVerdict(order: FulfilmentData): FulfilmentData {
  if (order.total.amountMinor <= order.reviewAboveMinor) return order;
  return { ...order, review: 'screening did not answer, and the total is above the limit' };
}
