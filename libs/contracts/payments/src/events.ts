import { money } from '@flotilla/contracts-money';
import { defineEvent } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { declineReason } from './payment.ts';

const payment = z.object({ paymentId: z.uuid(), orderId: z.uuid(), amount: money });
const byOrder = (payload: { orderId: string }): string => payload.orderId;

/** The provider blocked the amount. */
export class PaymentAuthorised extends defineEvent({
  owner: 'payments',
  name: 'PaymentAuthorised',
  version: 1,
  payload: payment,
  aggregate: byOrder,
}) {}

/** The provider refused. */
export class PaymentDeclined extends defineEvent({
  owner: 'payments',
  name: 'PaymentDeclined',
  version: 1,
  payload: payment.extend({ reason: declineReason }),
  aggregate: byOrder,
}) {}

/** The amount was taken. */
export class PaymentCaptured extends defineEvent({
  owner: 'payments',
  name: 'PaymentCaptured',
  version: 1,
  payload: payment,
  aggregate: byOrder,
}) {}

/** The authorisation was given up. */
export class PaymentVoided extends defineEvent({
  owner: 'payments',
  name: 'PaymentVoided',
  version: 1,
  payload: payment,
  aggregate: byOrder,
}) {}

/** `amount` of what was captured went back; `totalRefunded` is what went back until then, this included. */
export class PaymentRefunded extends defineEvent({
  owner: 'payments',
  name: 'PaymentRefunded',
  version: 1,
  payload: payment.extend({
    refundKey: z.string(),
    reason: z.string(),
    totalRefunded: money.optional(),
  }),
  aggregate: byOrder,
}) {}
