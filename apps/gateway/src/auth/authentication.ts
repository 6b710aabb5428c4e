import { Injectable } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { HttpProblem } from '../http/problem.ts';
import type { Caller } from './caller.ts';
import { TokenVerifier } from './token-verifier.ts';

/** Who makes a request: its token is checked once, whoever asks how often. */
@Injectable()
export class Authentication {
  readonly #callers = new WeakMap<FastifyRequest, Promise<Caller>>();

  constructor(private readonly tokens: TokenVerifier) {}

  /** Throws the problem of 401 without a valid token, or of 503 when the issuer's keys cannot be had. */
  callerOf(request: FastifyRequest): Promise<Caller> {
    let caller = this.#callers.get(request);
    if (!caller) {
      caller = this.#verify(request.headers.authorization);
      this.#callers.set(request, caller);
    }
    return caller;
  }

  async #verify(authorization = ''): Promise<Caller> {
    const [scheme, token] = authorization.split(' ', 2);
    if (scheme?.toLowerCase() !== 'bearer' || token === undefined || token === '') {
      throw new HttpProblem(401, 'token-missing', 'Send a token: Authorization: Bearer ...', {
        headers: { 'www-authenticate': 'Bearer' },
      });
    }
    return this.tokens.verify(token);
  }
}
