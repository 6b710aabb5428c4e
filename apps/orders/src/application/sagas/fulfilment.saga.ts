import { ScreenOrder } from '@flotilla/contracts-fraud';
import { ReceiveReturn, ReleaseStock, ReserveStock } from '@flotilla/contracts-inventory';
import { OrderReviewed } from '@flotilla/contracts-orders';
import { AuthorisePayment, CapturePayment, RefundPayment, VoidPayment } from '@flotilla/contracts-payments';
import type { Address } from '@flotilla/contracts-shipping';
import {
  CancelShipment,
  CreateShipment,
  ShipmentDelivered,
  ShipmentDispatched,
  ShipmentFailed,
  ShipmentLost,
  ShipmentReturned,
} from '@flotilla/contracts-shipping';
import {
  abort,
  command,
  defineSaga,
  local,
  park,
  waitFor,
  type SagaDefinition,
  type SagaReason,
} from '@flotilla/saga';

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
  /** Until when the stock is held for the order; without it, for ever. */
  readonly heldUntil?: string;
  /** Why the parcel came back. */
  readonly undelivered?: string;
}

/** What the saga does in the orders' own database. */
export interface FulfilmentActions {
  awaitReview(orderId: string, why: string): Promise<void>;
  /** Whether stock that is held until then is safely held now. */
  isHeld(until: string): boolean;
  confirm(orderId: string): Promise<void>;
  ship(orderId: string, trackingNumber: string): Promise<void>;
  complete(orderId: string): Promise<void>;
  /** Ends an order that could not be fulfilled, or that the customer cancelled: `reason.code` says which. */
  giveUp(orderId: string, reason: SagaReason): Promise<void>;
  /** Tells the customer that the order had left before it could be stopped. */
  refuseCancel(orderId: string, why: string): Promise<void>;
}

export interface FulfilmentTimeouts {
  readonly screeningTimeoutMs: number;
  readonly reviewTimeoutMs: number;
  readonly shippingTimeoutMs: number;
  readonly reservationHoldMs: number;
}

/** What the configuration uses unless it is told otherwise, and the saga where nobody configures it. */
export const fulfilmentTimeouts: FulfilmentTimeouts = {
  screeningTimeoutMs: 30_000,
  reviewTimeoutMs: 7 * 86_400_000,
  shippingTimeoutMs: 30 * 86_400_000,
  reservationHoldMs: 30 * 60_000,
};

const hasGoods = (order: FulfilmentData): boolean => order.stocked.length > 0;
const hasPrice = (order: FulfilmentData): boolean => order.total.amountMinor > 0;
const needsReview = (order: FulfilmentData): boolean => order.review !== undefined;
const cameBack = (order: FulfilmentData): boolean => order.undelivered !== undefined;

/**
 * An order is confirmed so long before its reservation ends at the latest: the clocks of two services and a transaction
 * that takes its time fit in, in milliseconds.
 */
export const HOLD_MARGIN_MS = 60_000;

/**
 * The life of an order: screen, reserve, authorise, confirm (the pivot), capture, ship, complete. Up to the pivot
 * a failure undoes what was done; after it the order goes forward, unless the customer cancels before the parcel leaves.
 */
export function fulfilmentSaga(timeouts: FulfilmentTimeouts = fulfilmentTimeouts) {
  const saga = defineSaga<FulfilmentData, FulfilmentActions>(
    {
      name: 'fulfilment',
      version: 1,
      cancellableUntil: 'ship',
      onCompleted: (order, actions) => actions.complete(order.orderId),
      onCompensated: (order, actions, reason) => actions.giveUp(order.orderId, reason),
      // Accepted, it is told by the order itself, once all is undone.
      onCancelDecided: async (order, actions, { accepted, reason }) => {
        if (!accepted) await actions.refuseCancel(order.orderId, reason);
      },
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
        send: ({ orderId, stocked }) => ({
          orderId,
          lines: [...stocked],
          holdMs: timeouts.reservationHoldMs,
        }),
        timeoutMs: 30_000,
        onReply: (order, { heldUntil }) => ({ ...order, ...(heldUntil !== undefined && { heldUntil }) }),
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
          // What has left is not to be released: it came back and was booked in, or is lost.
          tolerate: ['AlreadyShipped'],
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
          // Later, inventory may find it unconfirmed and give the stock to others.
          if (order.heldUntil !== undefined && !actions.isHeld(order.heldUntil)) {
            return abort('reservation_expired', 'the stock was not held long enough');
          }
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
        cancel: 'wait',
        compensate: {
          command: CancelShipment,
          // A parcel that came back before we heard that it had left is refused: its goods have to be booked in first.
          send: ({ orderId, undelivered }) => ({
            orderId,
            reason: 'order given up',
            ...(undelivered !== undefined && { takenBack: true }),
          }),
        },
      }),
      waitFor('dispatched', [ShipmentDispatched, ShipmentFailed], {
        when: hasGoods,
        timeoutMs: timeouts.shippingTimeoutMs,
        // Until the parcel has left, shipping may still stop it: its answer is the customer's.
        cancel: { tryUndo: 'ship' },
        onEvent: (order, _, event) =>
          event instanceof ShipmentFailed
            ? abort('shipment_failed', event.payload.reason)
            : { ...order, trackingNumber: event.payload.trackingNumber },
        onTimeout: 'park',
      }),
      local('mark-shipped', {
        when: hasGoods,
        run: async (order, actions) => {
          await actions.ship(order.orderId, order.trackingNumber ?? '');
          return order;
        },
      }),
      waitFor('delivered', [ShipmentDelivered, ShipmentReturned, ShipmentLost], {
        when: hasGoods,
        timeoutMs: timeouts.shippingTimeoutMs,
        onEvent: (order, _, event) => {
          // Should it be found, the delivery goes on by itself; a person may also give the order up.
          if (event instanceof ShipmentLost) return park('parcel_lost', event.payload.reason);
          return event instanceof ShipmentReturned ? { ...order, undelivered: event.payload.reason } : order;
        },
        onTimeout: 'park',
      }),
      command('take-back', ReceiveReturn, {
        when: cameBack,
        send: ({ orderId, stocked }) => ({
          orderId,
          returnKey: 'undelivered',
          lines: stocked.map(({ sku, quantity }) => ({ sku, quantity })),
        }),
        timeoutMs: 30_000,
        retries: 5,
      }),
      local('give-up', {
        when: cameBack,
        run: (order) => Promise.resolve(abort('undeliverable', order.undelivered)),
      }),
    ],
  );
  checkHold(saga, timeouts.reservationHoldMs);
  return saga;
}

/** Throws when stock may be given away while an order that goes as slowly as it may is not confirmed yet. */
function checkHold<A>({ steps, pivot }: SagaDefinition<FulfilmentData, A>, holdMs: number): void {
  const from = steps.findIndex(({ name }) => name === 'reserve');
  const slowestMs = steps
    .slice(from, pivot)
    .reduce(
      (sum, step) => sum + (step.kind === 'command' ? step.policy.timeoutMs * (step.policy.retries + 1) : 0),
      0,
    );
  const neededMs = slowestMs + HOLD_MARGIN_MS;
  if (holdMs < neededMs) {
    throw new RangeError(
      `Stock is held for ${holdMs} ms, but from reserving to confirming an order may take ${slowestMs} ms: ` +
        `set ORDERS_RESERVATION_HOLD_MS to ${neededMs} at least`,
    );
  }
}

function withoutVerdict(order: FulfilmentData): FulfilmentData {
  if (order.total.amountMinor <= order.reviewAboveMinor) return order;
  return { ...order, review: 'screening did not answer, and the total is above the limit' };
}
