import { z } from 'zod';
import type { ApiClient } from './api-client.ts';

/** What an import may do. */
export const importScopes = [
  'orders:write',
  'orders:read',
  'orders:place-for-any',
  'orders:agree-price',
  'orders:read-any',
  'orders:review',
  'catalog:write',
  'stock:write',
] as const;

/** The idempotency keys of the import are its own: they belong to this caller. */
const CALLER = 'fleet-import';

const answer = z.object({ access_token: z.string().min(1) });

/** Gets tokens from the embedded issuer; `FLOTILLA_TOKEN` is used instead where a real issuer gave one. */
export function authenticateAs(wanted: {
  readonly scopes: readonly string[];
}): (client: ApiClient) => Promise<string> {
  return async (client) => {
    const given = process.env['FLOTILLA_TOKEN'];
    if (given !== undefined && given !== '') return given;
    const { body } = await client.sendAnonymously({
      method: 'POST',
      path: '/v1/auth/token',
      body: { customerId: CALLER, scope: wanted.scopes.join(' ') },
    });
    return answer.parse(body).access_token;
  };
}
