import { defineConfig, setting } from '@flotilla/service/config';
import { z } from 'zod';

const flag = z.enum(['true', 'false']).transform((text) => text === 'true');

export class GatewayConfig extends defineConfig({
  environment: setting({
    env: 'NODE_ENV',
    schema: z.string(),
    default: 'development',
    doc: 'production refuses what is for development only',
  }),
  authIssuer: setting({
    env: 'AUTH_ISSUER',
    schema: z.string().min(1),
    default: 'flotilla',
    doc: 'the issuer (`iss`) that tokens must come from',
  }),
  authAudience: setting({
    env: 'AUTH_AUDIENCE',
    schema: z.string().min(1),
    default: 'flotilla',
    doc: 'the audience (`aud`) that tokens must be for',
  }),
  authJwksUrl: setting({
    env: 'AUTH_JWKS_URL',
    schema: z.url().optional(),
    default: undefined,
    doc: "where the issuer publishes its keys (JWKS); not needed with the gateway's own issuer",
  }),
  authJwksCooldownMs: setting({
    env: 'AUTH_JWKS_COOLDOWN_MS',
    schema: z.coerce.number().int().nonnegative(),
    default: 30_000,
    doc: 'how often, at most, an unknown key id makes the keys be fetched again, milliseconds; less follows a rotation sooner, more protects the issuer',
  }),
  authEmbeddedIssuer: setting({
    env: 'AUTH_EMBEDDED_ISSUER',
    schema: flag,
    default: false,
    doc: 'true: the gateway issues tokens itself at POST /v1/auth/token, to anybody; for development only, refused when NODE_ENV is production',
  }),
  authSigningKeyFile: setting({
    env: 'AUTH_SIGNING_KEY_FILE',
    schema: z.string().min(1).optional(),
    default: undefined,
    doc: "the file that keeps the embedded issuer's key (made if absent), so that tokens outlive a restart; without it every start has a new key",
  }),
  rateLimitMax: setting({
    env: 'RATE_LIMIT_MAX',
    schema: z.coerce.number().int().positive(),
    default: 1_000,
    dynamic: true,
    doc: 'requests that one caller (token subject, else address) may make per window; more are answered 429',
  }),
  rateLimitWindowMs: setting({
    env: 'RATE_LIMIT_WINDOW_MS',
    schema: z.coerce.number().int().min(100),
    default: 1_000,
    dynamic: true,
    doc: 'the window of RATE_LIMIT_MAX, milliseconds',
  }),
  requestDeadlineMs: setting({
    env: 'REQUEST_DEADLINE_MS',
    schema: z.coerce.number().int().min(100),
    default: 8_000,
    doc: 'how long a request may wait for the services behind it, milliseconds; then it is answered 503',
  }),
  maxStreams: setting({
    env: 'MAX_EVENT_STREAMS',
    schema: z.coerce.number().int().positive(),
    default: 1_000,
    doc: 'server-sent event streams open at a time; each holds a connection and a subscription, more are answered 503',
  }),
  streamHeartbeatMs: setting({
    env: 'EVENT_STREAM_HEARTBEAT_MS',
    schema: z.coerce.number().int().min(50),
    default: 15_000,
    doc: 'silence after which an event stream gets a comment, so that proxies keep it, and looks for itself, milliseconds',
  }),
}) {}
