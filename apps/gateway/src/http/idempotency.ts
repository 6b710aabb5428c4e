import { deterministicId } from '@flotilla/kernel';
import type { FastifyRequest } from 'fastify';
import { HttpProblem } from './problem.ts';
import type { Route } from './route.ts';

/** The header that tells a caller that an answer is that of an earlier time. */
export const REPLAYED = 'idempotency-replayed';

const acceptable = /^[\x21-\x7e]{1,200}$/;

/**
 * The id of the command that a request stands for: the same for the same caller, route and `Idempotency-Key`, so that
 * the service which owns the command recognises a repetition and answers as it did. Throws a problem without a key.
 */
export function commandIdOf(route: Route, request: FastifyRequest, subject: string): string {
  const key = request.headers['idempotency-key'];
  if (key === undefined) {
    throw new HttpProblem(
      400,
      'idempotency-key-missing',
      'Send an Idempotency-Key header: any text of your own, the same when you repeat this request',
    );
  }
  if (typeof key !== 'string' || !acceptable.test(key)) {
    throw new HttpProblem(
      400,
      'idempotency-key-invalid',
      'An Idempotency-Key is 1 to 200 printable ASCII characters without spaces',
    );
  }
  // The path with its values, not the pattern: a key may be used again for another order. Made anew from what the
  // request names, because one address can be written in several ways (%4C is L, an id may be in capitals).
  const named = route.params?.parse(request.params) ?? {};
  const path = route.path.replaceAll(/\{(\w+)\}/g, (_all, name: string) =>
    encodeURIComponent(String(named[name])),
  );
  return deterministicId('http', subject, route.method, path, key);
}
