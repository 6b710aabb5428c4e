import { defineQuery } from '@flotilla/contracts-protocol';
import { money } from '@flotilla/contracts-money';
import { z } from 'zod';
import { orderStatus, returnLine, returnStatus } from './order.ts';

/** What the orders service itself knows of an order, at this moment; for reading, ask tracking. */
export class FindOrder extends defineQuery({
  owner: 'orders',
  name: 'FindOrder',
  version: 1,
  payload: z.object({ orderId: z.uuid() }),
  reply: z.object({
    orderId: z.uuid(),
    customerId: z.string(),
    status: orderStatus,
    total: money,
    /** Counts the order's changes: the `version` of its latest event. */
    version: z.int().positive(),
  }),
  errors: { OrderNotFound: z.object({ orderId: z.uuid() }) },
}) {}

/** A return as the orders service knows it. */
export const orderReturn = z.object({
  returnId: z.uuid(),
  status: returnStatus,
  lines: z.array(returnLine),
  /** What is, or was, paid back for it. */
  refund: money,
  reason: z.string().optional(),
  /** Why it ended without goods and money. */
  detail: z.string().optional(),
  requestedAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
});
export type OrderReturn = z.output<typeof orderReturn>;

/** The returns of an order, the oldest first. */
export class ListReturns extends defineQuery({
  owner: 'orders',
  name: 'ListReturns',
  version: 1,
  payload: z.object({ orderId: z.uuid() }),
  reply: z.object({ orderId: z.uuid(), customerId: z.string(), returns: z.array(orderReturn) }),
  errors: { OrderNotFound: z.object({ orderId: z.uuid() }) },
}) {}
