import { z } from 'zod';

/** Why a payment was not authorised. */
export const declineReason = z.enum([
  'declined',
  'insufficient_funds',
  'unknown_token',
  'provider_unavailable',
]);
export type DeclineReason = z.output<typeof declineReason>;

/** Where a payment stands. `pending`: the provider has not answered yet. */
export const paymentStatus = z.enum(['pending', 'authorised', 'declined', 'captured', 'voided', 'refunded']);
export type PaymentStatus = z.output<typeof paymentStatus>;
