import { z } from 'zod';
import { MAX_TOKEN_TTL_SECONDS } from '../../auth/signing-keys.ts';

export const tokenBody = z.strictObject({
  /** Whom the token is for: a customer, or a program. */
  customerId: z.string().min(1).max(100).default('operator'),
  /** Separated by spaces. Default: what a customer needs. */
  scope: z.string().max(500).optional(),
  ttlSeconds: z.int().min(1).max(MAX_TOKEN_TTL_SECONDS).default(3_600),
});

export const issuedToken = z.object({
  access_token: z.string(),
  token_type: z.literal('Bearer'),
  expires_in: z.int(),
  scope: z.string(),
});

export const jwks = z.object({ keys: z.array(z.record(z.string(), z.unknown())) });
