import { defineQuery } from '@flotilla/contracts-protocol';
import { money } from '@flotilla/contracts-money';
import { z } from 'zod';
import { orderStatus } from './order.ts';

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
