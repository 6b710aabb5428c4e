import { money } from '@flotilla/contracts-money';
import { defineCommand } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { declineReason, paymentStatus } from './payment.ts';

const orderId = z.uuid();
const byOrder = (payload: { orderId: string }): string => payload.orderId;

/** Blocks the amount at the provider. One payment per order: asked again, it answers as before. */
export class AuthorisePayment extends defineCommand({
  owner: 'payments',
  name: 'AuthorisePayment',
  version: 1,
  payload: z.object({ orderId, customerId: z.string(), amount: money, token: z.string().min(1).max(200) }),
  reply: z.object({ paymentId: z.uuid(), amount: money }),
  errors: {
    PaymentDeclined: z.object({ reason: declineReason }),
    /** The payment was voided before it was authorised: the order is gone. */
    AlreadyVoided: z.object({ orderId }),
  },
  key: byOrder,
}) {}

/** Takes the authorised amount. */
export class CapturePayment extends defineCommand({
  owner: 'payments',
  name: 'CapturePayment',
  version: 1,
  payload: z.object({ orderId }),
  reply: z.object({ captured: money }),
  errors: { NotAuthorised: z.object({ status: paymentStatus.optional() }) },
  key: byOrder,
}) {}

/**
 * Gives an authorisation up. Without a payment it is remembered, so that an authorisation that arrives late is
 * refused; a captured payment stays as it is (refund it).
 */
export class VoidPayment extends defineCommand({
  owner: 'payments',
  name: 'VoidPayment',
  version: 1,
  payload: z.object({ orderId, reason: z.string().max(200) }),
  reply: z.object({ voided: z.boolean() }),
  key: byOrder,
}) {}

/** Gives captured money back: the whole of what is left, or `amount` of it. */
export class RefundPayment extends defineCommand({
  owner: 'payments',
  name: 'RefundPayment',
  version: 1,
  payload: z.object({
    orderId,
    /** One refund per key: asked again, it answers as before. */
    refundKey: z.string().min(1).max(200),
    amount: money.optional(),
    reason: z.string().max(200),
  }),
  reply: z.object({ refunded: money }),
  errors: {
    NotCaptured: z.object({ status: paymentStatus.optional() }),
    ExceedsCaptured: z.object({ refundable: money }),
  },
  key: byOrder,
}) {}
