import { money } from '@flotilla/contracts-money';
import {
  orderLine,
  orderStatus,
  rejectionReason,
  returnLine,
  returnStatus,
} from '@flotilla/contracts-orders';
import { address } from '@flotilla/contracts-shipping';
import { z } from 'zod';

/** One thing that happened to an order. `position` counts from 1 within the order and never changes. */
export const timelineEntry = z.object({
  position: z.int().positive(),
  at: z.iso.datetime(),
  /** The event's name, for example `OrderConfirmed`. */
  event: z.string(),
  /** The order's status after it. */
  status: orderStatus,
  detail: z.string().optional(),
});
export type TimelineEntry = z.output<typeof timelineEntry>;

/** A return as a customer sees it. */
export const returnView = z.object({
  returnId: z.uuid(),
  status: returnStatus,
  lines: z.array(returnLine),
  refund: money,
  requestedAt: z.iso.datetime(),
  endedAt: z.iso.datetime().optional(),
});
export type ReturnView = z.output<typeof returnView>;

/** An order as a customer sees it, gathered from all services' events. */
export const orderView = z.object({
  orderId: z.uuid(),
  customerId: z.string(),
  status: orderStatus,
  rejectionReason: rejectionReason.optional(),
  reference: z.string().optional(),
  /** `returned`: pieces that came back, if any. */
  lines: z.array(orderLine.extend({ returned: z.int().nonnegative().optional() })),
  total: money,
  shipTo: address,
  trackingNumber: z.string().optional(),
  payment: z.object({ authorised: money, captured: money, refunded: money }),
  placedAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
  timeline: z.array(timelineEntry),
  /** The oldest first. */
  returns: z.array(returnView).optional(),
});
export type OrderView = z.output<typeof orderView>;
