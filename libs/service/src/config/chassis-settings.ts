import { errorMessage } from '@flotilla/kernel';
import { z } from 'zod';
import { parseCallOverrides } from '../cqrs/call-policies.options.ts';

const milliseconds = z.coerce.number().int().nonnegative();

/**
 * The settings that every service has. Plain objects rather than `setting()` calls keep this file free of
 * import cycles with the function that adds them to each configuration.
 */
export const chassisSettings = {
  natsUrl: {
    env: 'NATS_URL',
    schema: z.string().transform((text) => text.split(',').map((each) => each.trim())),
    doc: 'NATS servers, comma-separated, for example nats://127.0.0.1:3022',
  },
  natsUser: {
    env: 'NATS_USER',
    schema: z.string().optional(),
    default: undefined,
    doc: "the service's NATS user; its permissions are those of its contracts",
  },
  natsPassword: {
    env: 'NATS_PASSWORD',
    schema: z.string().optional(),
    default: undefined,
    secret: true,
    doc: 'the password of NATS_USER',
  },
  natsTlsCa: {
    env: 'NATS_TLS_CA',
    schema: z.string().optional(),
    default: undefined,
    doc: 'the file (PEM) with the certificates of the authority that signed those of the NATS servers; set, the connection is encrypted or there is none',
  },
  natsTlsCert: {
    env: 'NATS_TLS_CERT',
    schema: z.string().optional(),
    default: undefined,
    doc: "the file (PEM) with the service's own certificate, when the NATS servers ask for one; with NATS_TLS_KEY",
  },
  natsTlsKey: {
    env: 'NATS_TLS_KEY',
    schema: z.string().optional(),
    default: undefined,
    doc: 'the file (PEM) with the key of NATS_TLS_CERT',
  },
  databaseUrl: {
    env: 'DATABASE_URL',
    schema: z
      .string()
      .regex(/^postgres(ql)?:\/\//, 'must begin with postgres://')
      .optional(),
    default: undefined,
    secret: true,
    doc: "the service's own Postgres database, for example postgres://orders:secret@127.0.0.1:3032/orders",
  },
  databasePoolSize: {
    env: 'DATABASE_POOL_SIZE',
    schema: z.coerce.number().int().min(2).max(100),
    default: 10,
    doc: 'connections to Postgres at most; each costs the server some megabytes',
  },
  unitOfWorkLanes: {
    env: 'UNIT_OF_WORK_LANES',
    schema: z.coerce.number().int().min(1).max(32),
    default: 2,
    doc: 'transactions at a time that handle messages; more overlap waiting for the database, fewer make larger groups and so fewer commits',
  },
  serviceVersion: {
    env: 'SERVICE_VERSION',
    schema: z.string().regex(/^\d+\.\d+\.\d+/, 'must be a semantic version, for example 1.4.0'),
    default: '0.0.0',
    doc: 'the version that the service announces and writes into traces; the image or the deployment sets it',
  },
  host: {
    env: 'HOST',
    schema: z.string().min(1),
    default: '127.0.0.1',
    doc: 'the address that HTTP listens on',
  },
  port: {
    env: 'PORT',
    schema: z.coerce.number().int().min(0).max(65_535),
    doc: 'the HTTP port of health, metrics and, at the gateway, the API; 0 takes a free one',
  },
  logLevel: {
    env: 'LOG_LEVEL',
    schema: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    default: 'info',
    doc: 'the least severe level that is logged',
  },
  maxInFlight: {
    env: 'MAX_IN_FLIGHT',
    schema: z.coerce.number().int().min(1).max(10_000),
    default: 128,
    dynamic: true,
    doc: 'messages per consumer, and requests per subject, that are handled at a time; more raises throughput and memory',
  },
  maxAttempts: {
    env: 'MAX_ATTEMPTS',
    schema: z.coerce.number().int().min(1).max(100),
    default: 6,
    doc: 'deliveries of a failing message before it goes to the dead letters',
  },
  retryInitialMs: {
    env: 'RETRY_INITIAL_MS',
    schema: milliseconds,
    default: 200,
    doc: 'delay before the second delivery of a failing message, milliseconds; it doubles from there',
  },
  retryMaxMs: {
    env: 'RETRY_MAX_MS',
    schema: milliseconds,
    default: 30_000,
    doc: 'the longest delay between deliveries of a failing message, milliseconds',
  },
  killSwitchFailures: {
    env: 'KILL_SWITCH_FAILURES',
    schema: z.coerce
      .number()
      .int()
      .min(0)
      .max(1_000)
      .refine((failures) => failures !== 1, 'must be 0 (never) or at least 2: one message says nothing'),
    default: 10,
    doc: 'different messages in a row that fail for the same reason until their consumer pauses itself; 0 never; fewer lose less to the dead letters and pause sooner for nothing',
  },
  killSwitchWindowMs: {
    env: 'KILL_SWITCH_WINDOW_MS',
    schema: z.coerce.number().int().min(1),
    default: 300_000,
    doc: 'failures that lie further apart do not count as in a row, milliseconds',
  },
  killSwitchProbeInitialMs: {
    env: 'KILL_SWITCH_PROBE_INITIAL_MS',
    schema: z.coerce.number().int().min(1),
    default: 1_000,
    doc: 'how long a paused consumer waits before it tries one message, milliseconds; it doubles with each that fails',
  },
  killSwitchProbeMaxMs: {
    env: 'KILL_SWITCH_PROBE_MAX_MS',
    schema: z.coerce.number().int().min(1),
    default: 60_000,
    doc: 'the longest wait of a paused consumer between two tries, milliseconds; longer notices later that it may go on',
  },
  stuckAfterMs: {
    env: 'STUCK_AFTER_MS',
    schema: z.coerce.number().int().min(100),
    default: 60_000,
    doc: 'after how long consumers without deliveries are looked into, and unpublished messages and due timers of sagas count as stuck, milliseconds',
  },
  connectTimeoutMs: {
    env: 'CONNECT_TIMEOUT_MS',
    schema: milliseconds,
    default: 30_000,
    doc: 'how long a start waits for NATS and Postgres, milliseconds',
  },
  drainMs: {
    env: 'DRAIN_MS',
    schema: milliseconds,
    default: 10_000,
    doc: 'how long a stop waits for what is in flight, milliseconds; then messages are given back and connections cut',
  },
  callPolicies: {
    env: 'CALL_POLICIES',
    schema: z.string().transform((text, context) => {
      try {
        return parseCallOverrides(text);
      } catch (error) {
        context.addIssue({ code: 'custom', message: errorMessage(error) });
        return z.NEVER;
      }
    }),
    default: [],
    doc: 'how other services are called, for example inventory.maxConcurrent=50,inventory.GetStock.v1.attempts=1,*.breakerRestMs=5000; the options are in CallOptions and OwnerOptions',
  },
  inlineMaxBytes: {
    env: 'INLINE_MAX_BYTES',
    schema: z.coerce.number().int().min(1_024).max(8_388_608),
    default: 262_144,
    doc: 'message bodies up to this many bytes travel in their message, larger ones apart in the stream PAYLOADS; less where the max_payload of NATS wants it',
  },
  outboxRetentionDays: {
    env: 'OUTBOX_RETENTION_DAYS',
    schema: z.coerce.number().int().min(1).max(365),
    default: 7,
    doc: 'days that published messages are kept to repair a lost broker; costs disk',
  },
  sagaRetentionDays: {
    env: 'SAGA_RETENTION_DAYS',
    schema: z.coerce.number().int().min(1).max(3_650),
    default: 90,
    doc: 'days that sagas are kept, with their history, after they have ended; costs disk',
  },
} as const;

/** The values of the chassis' own settings. */
export type ChassisConfig = {
  readonly [K in keyof typeof chassisSettings]: z.output<(typeof chassisSettings)[K]['schema']>;
};
