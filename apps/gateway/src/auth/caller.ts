import type { FastifyRequest } from 'fastify';
import { HttpProblem } from '../http/problem.ts';
import type { Scope } from './scopes.ts';

/** Who makes a request, by their token. */
export interface Caller {
  /** The customer id, or the name of a program. */
  readonly subject: string;
  readonly scopes: ReadonlySet<string>;
  /** When the token ends, milliseconds since the epoch. */
  readonly expiresAt: number;
}

const callers = new WeakMap<FastifyRequest, Caller>();

export function setCaller(request: FastifyRequest, caller: Caller): void {
  callers.set(request, caller);
}

/** Who makes the request. Throws on a public route, where nobody has to say so. */
export function callerOf(request: FastifyRequest): Caller {
  const caller = callers.get(request);
  if (!caller) throw new Error(`${request.method} ${request.url} is public: its caller is not known`);
  return caller;
}

/** Throws a problem that names the scope which is missing. */
export function requireScope(caller: Caller, scope: Scope, what: string): void {
  if (caller.scopes.has(scope)) return;
  throw new HttpProblem(
    403,
    'scope-missing',
    `${what} needs the scope ${scope}, which the token does not have`,
    {
      data: { scope },
      headers: { 'www-authenticate': `Bearer error="insufficient_scope", scope="${scope}"` },
    },
  );
}

/** The customer whose orders the caller may see: their own, or everybody's (undefined). */
export function visibleCustomer(caller: Caller): string | undefined {
  return caller.scopes.has('orders:read-any') ? undefined : caller.subject;
}
