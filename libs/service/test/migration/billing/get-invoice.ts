import { defineQuery } from '@flotilla/contracts-protocol';
import { z } from 'zod';

export class GetInvoice extends defineQuery({
  owner: 'billing',
  name: 'GetInvoice',
  version: 1,
  payload: z.object({ orderId: z.string().min(1) }),
  reply: z.object({ amount: z.number() }),
  errors: { NoInvoice: z.object({ orderId: z.string() }) },
}) {}
