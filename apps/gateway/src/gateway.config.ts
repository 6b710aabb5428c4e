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
  authJwksRefreshMs: setting({
    env: 'AUTH_JWKS_REFRESH_MS',
    schema: z.coerce.number().int().min(1_000),
    default: 300_000,
    doc: 'how old keys get before they are fetched again, in the background, milliseconds; a key that the issuer takes out is refused after that at the latest',
  }),
  authJwksMaxStaleMs: setting({
    env: 'AUTH_JWKS_MAX_STALE_MS',
    schema: z.coerce.number().int().min(1_000),
    default: 3_600_000,
    doc: 'how long known keys serve while the issuer cannot be reached, milliseconds; then what needs a token is answered 503',
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
    doc: "the file that keeps the embedded issuer's keys (made if absent), so that tokens outlive a restart; without it every start has a new key",
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
  trustedProxies: setting({
    env: 'TRUSTED_PROXIES',
    schema: z
      .string()
      .transform((text) =>
        text
          .split(',')
          .map((each) => each.trim())
          .filter((each) => each !== ''),
      )
      .pipe(
        z.array(
          z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()], 'must be addresses or networks (10.0.0.0/8)'),
        ),
      ),
    default: [],
    doc: 'the proxies in front of the gateway, addresses or networks, comma-separated: from them the address of the caller is taken from X-Forwarded-For. Without it, everybody behind a proxy without a token is one caller to the rate limit',
  }),
  receiveTimeoutMs: setting({
    env: 'HTTP_RECEIVE_TIMEOUT_MS',
    schema: z.coerce.number().int().min(500),
    default: 15_000,
    doc: 'how long a caller may take to send a request, headers and body, milliseconds; slower ones are answered 408 and cut off',
  }),
  maxConnections: setting({
    env: 'HTTP_MAX_CONNECTIONS',
    schema: z.coerce.number().int().positive(),
    default: 10_000,
    doc: 'connections open at a time; further ones are closed at once. Each costs some kilobytes and a file descriptor',
  }),
  httpMaxInFlight: setting({
    env: 'HTTP_MAX_IN_FLIGHT',
    schema: z.coerce.number().int().positive(),
    default: 1_000,
    dynamic: true,
    doc: 'requests being answered at a time, event streams not counted; more are answered 503 at once, so that those that were taken are answered in time',
  }),
  httpMaxLagMs: setting({
    env: 'HTTP_MAX_LAG_MS',
    schema: z.coerce.number().int().positive(),
    default: 500,
    dynamic: true,
    doc: 'how late the event loop may run, for over a second, before requests are answered 503, milliseconds',
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
  maxStreamsPerCaller: setting({
    env: 'MAX_EVENT_STREAMS_PER_CALLER',
    schema: z.coerce.number().int().positive(),
    default: 50,
    doc: 'event streams that one caller (token subject) may have open; more are answered 429, so that one caller cannot take them all',
  }),
  streamHeartbeatMs: setting({
    env: 'EVENT_STREAM_HEARTBEAT_MS',
    schema: z.coerce.number().int().min(50),
    default: 15_000,
    doc: 'silence after which an event stream gets a comment, so that proxies keep it, and looks for itself, milliseconds',
  }),
}) {}
