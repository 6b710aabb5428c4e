import { defineQuery } from '@flotilla/contracts-protocol';
import { z } from 'zod';

/** A message to a customer. */
export const notification = z.object({
  notificationId: z.uuid(),
  orderId: z.uuid(),
  recipient: z.string(),
  subject: z.string(),
  body: z.string(),
  status: z.enum(['queued', 'sent', 'failed']),
  createdAt: z.iso.datetime(),
  sentAt: z.iso.datetime().optional(),
});
export type Notification = z.output<typeof notification>;

/** The messages about one order, the oldest first. */
export class ListNotifications extends defineQuery({
  owner: 'notifications',
  name: 'ListNotifications',
  version: 1,
  payload: z.object({ orderId: z.uuid() }),
  reply: z.object({ notifications: z.array(notification) }),
}) {}
