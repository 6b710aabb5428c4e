import { Controller, Inject, Optional, Req } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { EmbeddedIssuer } from '../auth/embedded-issuer.ts';
import { customerScopes, isScope } from '../auth/scopes.ts';
import { HttpProblem } from './problem.ts';
import { read } from './read-request.ts';
import { Serves } from './route.ts';
import { routes } from './routes.ts';

@Controller()
export class AuthController {
  constructor(@Optional() @Inject(EmbeddedIssuer) private readonly issuer: EmbeddedIssuer | undefined) {}

  @Serves(routes.issueToken)
  async issue(@Req() request: FastifyRequest) {
    const { customerId, scope, ttlSeconds } = read('body', routes.issueToken.body, request.body ?? {});
    const granted = scope ?? customerScopes.join(' ');
    const unknown = granted.split(' ').filter((each) => each !== '' && !isScope(each));
    if (unknown.length > 0) {
      throw new HttpProblem(400, 'unknown-scope', `There is no scope ${unknown.join(', ')}; see /docs`);
    }
    const access_token = await this.#required().issue({ subject: customerId, scope: granted, ttlSeconds });
    return { access_token, token_type: 'Bearer' as const, expires_in: ttlSeconds, scope: granted };
  }

  @Serves(routes.keys)
  keys() {
    return this.#required().jwks();
  }

  #required(): EmbeddedIssuer {
    if (this.issuer) return this.issuer;
    throw new HttpProblem(
      404,
      'no-embedded-issuer',
      'This gateway issues no tokens: ask the issuer that it trusts',
    );
  }
}
