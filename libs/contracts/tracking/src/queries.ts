import { orderStatus } from '@flotilla/contracts-orders';
import { defineQuery } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { orderView, timelineEntry } from './order-view.ts';

const orderVersion = z.object({ orderId: z.uuid(), version: z.int().positive() });
export type OrderVersion = z.output<typeof orderVersion>;
/** Orders that the caller has changed: the answer is at least as new as these versions of them. */
const atLeast = z.array(orderVersion).max(10).optional();
/** The views did not get as new as the caller asked for in the time that there was. */
const NotCaughtUp = z.object({ waitedMs: z.int().nonnegative() });

/** One order. With `customerId`, another customer's order is not found. */
export class GetOrder extends defineQuery({
  owner: 'tracking',
  name: 'GetOrder',
  version: 1,
  payload: z.object({ orderId: z.uuid(), customerId: z.string().optional(), atLeast }),
  reply: orderView,
  errors: { OrderNotFound: z.object({ orderId: z.uuid() }), NotCaughtUp },
}) {}

/** Orders, the newest first, a page at a time; without their lines and timeline. */
export class ListOrders extends defineQuery({
  owner: 'tracking',
  name: 'ListOrders',
  version: 1,
  payload: z.object({
    customerId: z.string().optional(),
    status: orderStatus.optional(),
    /** `nextCursor` of the page before. */
    cursor: z.string().max(200).optional(),
    limit: z.int().min(1).max(200).default(50),
    atLeast,
  }),
  reply: z.object({
    orders: z.array(orderView.omit({ lines: true, timeline: true, returns: true })),
    nextCursor: z.string().optional(),
  }),
  errors: { InvalidCursor: z.object({ cursor: z.string() }), NotCaughtUp },
}) {}

/** What happened to an order after the given position. */
export class GetTimeline extends defineQuery({
  owner: 'tracking',
  name: 'GetTimeline',
  version: 1,
  payload: z.object({ orderId: z.uuid(), after: z.int().nonnegative().default(0) }),
  reply: z.object({ customerId: z.string(), status: orderStatus, entries: z.array(timelineEntry) }),
  errors: { OrderNotFound: z.object({ orderId: z.uuid() }) },
}) {}
