import { money } from '@flotilla/contracts-money';
import { defineQuery } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { paymentStatus } from './payment.ts';

/** The payment of an order. */
export class GetPayment extends defineQuery({
  owner: 'payments',
  name: 'GetPayment',
  version: 1,
  payload: z.object({ orderId: z.uuid() }),
  reply: z.object({
    paymentId: z.uuid(),
    orderId: z.uuid(),
    status: paymentStatus,
    authorised: money,
    captured: money,
    refunded: money,
  }),
  errors: { PaymentNotFound: z.object({ orderId: z.uuid() }) },
}) {}
