import { decimalMoney, type Money } from '@flotilla/contracts-money';
import { orderStatus, returnStatus } from '@flotilla/contracts-orders';
import { address } from '@flotilla/contracts-shipping';
import { z } from 'zod';
import { price } from './price.schema.ts';

/** The most lines that one order may have. */
export const MAX_LINES = 1_000;

/** An order's id; in small letters, as it is kept everywhere. */
export const orderParams = z.strictObject({ id: z.uuid().toLowerCase() });

export const placeOrderBody = z.strictObject({
  customerId: z.string().min(1).max(100).optional(),
  email: z.email().max(254).optional(),
  reference: z.string().min(1).max(100).optional(),
  lines: z
    .array(
      z.strictObject({
        sku: z.string().min(1).max(64),
        quantity: z.int().min(1).max(1_000_000),
        /** An agreed price per piece; without it the list price holds. */
        unitPrice: price.optional(),
      }),
    )
    .min(1)
    .max(MAX_LINES)
    .refine(inOneCurrency, 'must have their agreed prices in one currency'),
  payment: z.strictObject({ token: z.string().min(1).max(200) }),
  shipTo: address.strict(),
});

function inOneCurrency(lines: readonly { readonly unitPrice?: Money | undefined }[]): boolean {
  return new Set(lines.flatMap(({ unitPrice }) => unitPrice?.currency ?? [])).size <= 1;
}

export const cancelOrderBody = z.strictObject({ reason: z.string().min(1).max(200).optional() }).optional();

export const reviewOrderBody = z.strictObject({ decision: z.enum(['approve', 'reject']) });

export const returnParams = z.strictObject({
  id: z.uuid().toLowerCase(),
  returnId: z.uuid().toLowerCase(),
});

export const requestReturnBody = z.strictObject({
  lines: z
    .array(
      z.strictObject({
        sku: z.string().min(1).max(64),
        quantity: z.int().min(1).max(1_000_000),
        /** Damaged pieces are paid back too, and not sold again. */
        damaged: z.boolean().optional(),
      }),
    )
    .min(1)
    .max(MAX_LINES),
  reason: z.string().min(1).max(200).optional(),
});

export const acceptedReturn = z.object({ orderId: z.uuid(), returnId: z.uuid(), status: returnStatus });

const returnedLine = z.object({
  sku: z.string(),
  quantity: z.int(),
  unitPrice: decimalMoney,
  damaged: z.boolean(),
});

export const orderReturn = z.object({
  returnId: z.uuid(),
  status: returnStatus,
  lines: z.array(returnedLine),
  /** What is, or was, paid back for it. */
  refund: decimalMoney,
  reason: z.string().optional(),
  detail: z.string().optional(),
  requestedAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
});

export const orderReturns = z.object({ returns: z.array(orderReturn) });

export const listOrdersQuery = z.strictObject({
  customerId: z.string().min(1).max(100).optional(),
  status: orderStatus.optional(),
  cursor: z.string().max(200).optional(),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});

/** No order has as many events: a number beyond is none that was received. */
const MAX_EVENT_ID = 1_000_000;

export const orderEventsHeaders = z.object({
  'last-event-id': z.coerce
    .number('must be the id of the last event that was received')
    .int()
    .min(0)
    .max(MAX_EVENT_ID)
    .default(0)
    .describe('The id of the last event that was received: the stream goes on after it'),
});

/** What a read may ask for. */
export const readHeaders = z.object({
  'flotilla-at-least': z
    .string()
    .optional()
    .describe(
      'Flotilla-Consistency-Token of earlier answers, comma-separated: the answer shows at least what they wrote. ' +
        'It is waited for, 2 s at most; then 503 `not-caught-up`',
    ),
});

/** Counts the order's changes; the answer's header Flotilla-Consistency-Token names it for readers. */
const version = z.int().optional();

export const reviewedOrder = z.object({
  orderId: z.uuid(),
  decision: z.enum(['approve', 'reject']),
  version,
});

export const acceptedOrder = z.object({ orderId: z.uuid(), status: orderStatus, version });

export const timelineEntry = z.object({
  position: z.int(),
  at: z.iso.datetime(),
  event: z.string(),
  status: orderStatus,
  detail: z.string().optional(),
});

const summary = z.object({
  orderId: z.uuid(),
  customerId: z.string(),
  status: orderStatus,
  rejectionReason: z.string().optional(),
  reference: z.string().optional(),
  total: decimalMoney,
  shipTo: address,
  trackingNumber: z.string().optional(),
  payment: z.object({ authorised: decimalMoney, captured: decimalMoney, refunded: decimalMoney }),
  placedAt: z.iso.datetime(),
  updatedAt: z.iso.datetime(),
});

export const orderList = z.object({ orders: z.array(summary), nextCursor: z.string().optional() });

export const order = summary.extend({
  lines: z.array(
    z.object({
      sku: z.string(),
      name: z.string(),
      kind: z.enum(['stocked', 'charge']),
      quantity: z.int(),
      unitPrice: decimalMoney,
      /** Pieces that came back, if any. */
      returned: z.int().optional(),
    }),
  ),
  timeline: z.array(timelineEntry),
  returns: z
    .array(
      z.object({
        returnId: z.uuid(),
        status: returnStatus,
        lines: z.array(returnedLine),
        refund: decimalMoney,
        requestedAt: z.iso.datetime(),
        endedAt: z.iso.datetime().optional(),
      }),
    )
    .optional(),
});

export const notifications = z.object({
  notifications: z.array(
    z.object({
      notificationId: z.uuid(),
      recipient: z.string(),
      subject: z.string(),
      body: z.string(),
      status: z.enum(['queued', 'sent', 'failed']),
      createdAt: z.iso.datetime(),
      sentAt: z.iso.datetime().optional(),
    }),
  ),
});
