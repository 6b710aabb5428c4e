import { FlotillaError } from '@flotilla/kernel';
import { createLocalJWKSet, createRemoteJWKSet, errors, jwtVerify, type JWTVerifyGetKey } from 'jose';
import type { GatewayConfig } from '../gateway.config.ts';
import { HttpProblem } from '../http/problem.ts';
import type { Caller } from './caller.ts';
import type { EmbeddedIssuer } from './embedded-issuer.ts';

const challenge = (error: string): Record<string, string> => ({ 'www-authenticate': `Bearer error="${error}"` });

/** Checks tokens against the issuer's keys. */
export class TokenVerifier {
  readonly #keys: JWTVerifyGetKey;
  readonly #issuer: string;
  readonly #audience: string;

  constructor(config: GatewayConfig, embedded: EmbeddedIssuer | undefined) {
    this.#issuer = config.authIssuer;
    this.#audience = config.authAudience;
    if (embedded) {
      this.#keys = createLocalJWKSet(embedded.jwks);
    } else if (config.authJwksUrl !== undefined) {
      // Keys are fetched again for an unknown key id, but not more often than every 30 s.
      this.#keys = createRemoteJWKSet(new URL(config.authJwksUrl), { cooldownDuration: 30_000, timeoutDuration: 5_000 });
    } else {
      throw new FlotillaError(
        'NO_TOKEN_ISSUER',
        'Nobody issues tokens: set AUTH_JWKS_URL to the keys of your issuer, or, for development, AUTH_EMBEDDED_ISSUER=true',
        { retry: 'never' },
      );
    }
  }

  /** Who a token is for. Throws the problem of 401, or of 503 when the issuer's keys cannot be had. */
  async verify(token: string): Promise<Caller> {
    try {
      const { payload } = await jwtVerify(token, this.#keys, {
        issuer: this.#issuer,
        audience: this.#audience,
        algorithms: ['ES256', 'RS256', 'EdDSA'],
        requiredClaims: ['sub', 'exp'],
      });
      const scope = typeof payload['scope'] === 'string' ? payload['scope'] : '';
      return { subject: payload.sub ?? '', scopes: new Set(scope.split(' ').filter((each) => each !== '')) };
    } catch (error) {
      if (error instanceof errors.JWTExpired) {
        throw new HttpProblem(401, 'token-expired', 'The token has expired: get a new one', {
          headers: challenge('invalid_token'),
        });
      }
      if (error instanceof errors.JWKSTimeout || error instanceof TypeError) {
        throw new HttpProblem(503, 'issuer-unavailable', "The token issuer's keys cannot be fetched; try again", {
          headers: { 'retry-after': '5' },
        });
      }
      throw new HttpProblem(401, 'token-invalid', 'The token is not valid here', { headers: challenge('invalid_token') });
    }
  }
}
