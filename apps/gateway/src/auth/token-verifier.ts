import { FlotillaError, systemClock, type Clock } from '@flotilla/kernel';
import { Logger } from '@nestjs/common';
import { errors, jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose';
import type { GatewayConfig } from '../gateway.config.ts';
import { HttpProblem } from '../http/problem.ts';
import type { Caller } from './caller.ts';
import type { EmbeddedIssuer } from './embedded-issuer.ts';
import { RemoteKeys } from './remote-keys.ts';

/** Signatures that only the holder of a private key can make: a published key must not be usable as a secret. */
const ALGORITHMS = ['ES256', 'RS256', 'EdDSA'];
const JWKS_TIMEOUT_MS = 5_000;

/** Checks tokens against the issuer's keys. */
export class TokenVerifier {
  readonly #keys: JWTVerifyGetKey;
  readonly #issuer: string;
  readonly #audience: string;

  constructor(config: GatewayConfig, embedded: EmbeddedIssuer | undefined, clock: Clock = systemClock) {
    this.#issuer = config.authIssuer;
    this.#audience = config.authAudience;
    if (embedded) {
      this.#keys = embedded.verifyingKeys;
    } else if (config.authJwksUrl !== undefined) {
      const logger = new Logger('Issuer');
      this.#keys = new RemoteKeys({
        url: config.authJwksUrl,
        cooldownMs: config.authJwksCooldownMs,
        refreshMs: config.authJwksRefreshMs,
        maxStaleMs: config.authJwksMaxStaleMs,
        timeoutMs: JWKS_TIMEOUT_MS,
        clock,
        onChange: (message) => logger.warn(message),
      }).get;
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
        algorithms: ALGORITHMS,
        requiredClaims: ['sub', 'exp'],
      });
      return toCaller(payload);
    } catch (error) {
      throw toProblem(error);
    }
  }
}

function toCaller({ sub = '', exp = 0, scope }: JWTPayload): Caller {
  const scopes = typeof scope === 'string' ? scope.split(' ').filter((each) => each !== '') : [];
  return { subject: sub, scopes: new Set(scopes), expiresAt: exp * 1_000 };
}

function toProblem(error: unknown): HttpProblem {
  // What is no fault of the token: keys that cannot be had, or that cannot be used.
  if (!(error instanceof errors.JOSEError)) {
    return new HttpProblem(503, 'issuer-unavailable', "The token issuer's keys cannot be had; try again", {
      headers: { 'retry-after': '5' },
      cause: error,
    });
  }
  const headers = { 'www-authenticate': 'Bearer error="invalid_token"' };
  if (error instanceof errors.JWTExpired) {
    return new HttpProblem(401, 'token-expired', 'The token has expired: get a new one', { headers });
  }
  return new HttpProblem(401, 'token-invalid', 'The token is not valid here', { headers });
}
