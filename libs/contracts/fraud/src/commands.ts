import { money } from '@flotilla/contracts-money';
import { defineCommand } from '@flotilla/contracts-protocol';
import { z } from 'zod';

/** `review`: a person decides. */
export const screeningVerdict = z.enum(['pass', 'review', 'reject']);
export type ScreeningVerdict = z.output<typeof screeningVerdict>;

/** Judges whether an order looks like fraud. Any service, in any language, may answer it. */
export class ScreenOrder extends defineCommand({
  owner: 'fraud',
  name: 'ScreenOrder',
  version: 1,
  payload: z.object({
    orderId: z.uuid(),
    customerId: z.string(),
    total: money,
    country: z.string(),
    lineCount: z.int().positive(),
    /** The largest quantity of one line. */
    largestQuantity: z.int().positive(),
  }),
  reply: z.object({
    verdict: screeningVerdict,
    /** 0 (clean) to 100. */
    score: z.number().min(0).max(100),
    reasons: z.array(z.string()),
  }),
  key: (payload) => payload.orderId,
}) {}
