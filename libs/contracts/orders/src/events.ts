import { money } from '@flotilla/contracts-money';
import { defineEvent } from '@flotilla/contracts-protocol';
import { address } from '@flotilla/contracts-shipping';
import { z } from 'zod';
import { orderLine, rejectionReason, returnLine } from './order.ts';

/** What every event of an order carries. `version` counts the order's events, from 1, without a gap. */
const orderFact = z.object({
  orderId: z.uuid(),
  customerId: z.string(),
  version: z.int().positive(),
  at: z.iso.datetime(),
});
const ofOrder = {
  owner: 'orders',
  version: 1,
  aggregate: (payload: z.output<typeof orderFact>) => payload.orderId,
  aggregateVersion: (payload: z.output<typeof orderFact>) => payload.version,
} as const;

/** The order is accepted, with the prices of this moment; fulfilment begins. */
export class OrderPlaced extends defineEvent({
  ...ofOrder,
  name: 'OrderPlaced',
  payload: orderFact.extend({
    email: z.string().optional(),
    reference: z.string().optional(),
    lines: z.array(orderLine),
    total: money,
    shipTo: address,
  }),
}) {}

/** Screening could not decide: a person has to. */
export class OrderAwaitingReview extends defineEvent({
  ...ofOrder,
  name: 'OrderAwaitingReview',
  payload: orderFact.extend({ why: z.string() }),
}) {}

/** A person decided. */
export class OrderReviewed extends defineEvent({
  ...ofOrder,
  name: 'OrderReviewed',
  payload: orderFact.extend({ decision: z.enum(['approve', 'reject']), reviewer: z.string() }),
}) {}

/** Stock is reserved and the payment authorised: the order will be fulfilled. */
export class OrderConfirmed extends defineEvent({ ...ofOrder, name: 'OrderConfirmed', payload: orderFact }) {}

/** The carrier has the parcel. From here on the order can no longer be cancelled, only returned. */
export class OrderShipped extends defineEvent({
  ...ofOrder,
  name: 'OrderShipped',
  payload: orderFact.extend({ trackingNumber: z.string() }),
}) {}

/** The parcel has arrived and `total` is paid: the order has ended well. */
export class OrderCompleted extends defineEvent({
  ...ofOrder,
  name: 'OrderCompleted',
  payload: orderFact.extend({ total: money }),
}) {}

/** The order has ended without goods and money, for a reason that is not the customer's wish. */
export class OrderRejected extends defineEvent({
  ...ofOrder,
  name: 'OrderRejected',
  payload: orderFact.extend({ reason: rejectionReason, detail: z.string() }),
}) {}

/**
 * The customer asked to cancel while the order was being handed over, and it had left. Nothing about the order changes,
 * so it has no version.
 */
export class OrderCancellationRefused extends defineEvent({
  owner: 'orders',
  name: 'OrderCancellationRefused',
  version: 1,
  payload: orderFact.omit({ version: true }).extend({ why: z.string() }),
  aggregate: ({ orderId }) => orderId,
}) {}

/** The order has ended as cancelled; what was reserved is released, what was paid is refunded. */
export class OrderCancelled extends defineEvent({
  ...ofOrder,
  name: 'OrderCancelled',
  payload: orderFact.extend({
    reason: z.string(),
    /** A stable code for the reason, such as `cancelled` (the customer's wish) or `undeliverable`. */
    code: z.string().optional(),
  }),
}) {}

const returnFact = orderFact.extend({
  returnId: z.uuid(),
  lines: z.array(returnLine),
  refund: money,
});

/** The customer sends goods back: these pieces are claimed, and nobody can return them a second time. */
export class OrderReturnRequested extends defineEvent({
  ...ofOrder,
  name: 'OrderReturnRequested',
  payload: returnFact.extend({ reason: z.string().optional() }),
}) {}

/** The goods are back and `refund` is paid back. */
export class OrderReturned extends defineEvent({
  ...ofOrder,
  name: 'OrderReturned',
  payload: returnFact,
}) {}

/** A return ended without goods and money; its pieces can be returned again. */
export class OrderReturnClosed extends defineEvent({
  ...ofOrder,
  name: 'OrderReturnClosed',
  payload: returnFact.extend({ outcome: z.enum(['expired', 'cancelled']), detail: z.string() }),
}) {}
