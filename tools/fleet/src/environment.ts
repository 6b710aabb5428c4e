import { join } from 'node:path';
import { defaultCacheDir } from '@flotilla/embedded';
import type { NatsCredentials } from '@flotilla/messaging';
import type { DataDir } from './stack/data-dir.ts';
import type { Instance, PortPlan } from './ports.ts';

/** What a service's environment is made of. */
export interface EnvironmentSource {
  readonly dir: DataDir;
  readonly ports: PortPlan;
  readonly natsUrl: string;
  /** The NATS user of each service. */
  readonly natsUsers: Readonly<Record<string, NatsCredentials>>;
  readonly databases: Readonly<Record<string, string>>;
}

/**
 * The environment of one process of a service: what is set in this process's environment stays (so a setting can be
 * changed with `ORDERS_REVIEW_ABOVE_MINOR=100 npm start`), except the addresses, which are the stack's.
 */
export function serviceEnvironment(
  { service, name }: Instance,
  source: EnvironmentSource,
  env: NodeJS.ProcessEnv = process.env,
): NodeJS.ProcessEnv {
  const database = source.databases[service];
  const user = source.natsUsers[service];
  return {
    LOG_LEVEL: 'info',
    ...withoutDeploymentAddresses(env),
    NATS_URL: source.natsUrl,
    ...(user && { NATS_USER: user.user, NATS_PASSWORD: user.password }),
    ...(database !== undefined && { DATABASE_URL: database }),
    HOST: '127.0.0.1',
    PORT: String(source.ports.instances.get(name) ?? 0),
    // Shared by all data directories: filling it costs the first stop a second or two per service.
    NODE_COMPILE_CACHE: join(defaultCacheDir(env), 'compile-cache'),
    ...ownSettings(service, source, env),
  };
}

/** Addresses and passwords of other databases and brokers are nothing for a service of the embedded fleet. */
function withoutDeploymentAddresses(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/(?:^|_)DATABASE_URL(?:_FILE)?$|^NATS_|^PG[A-Z]+$/.test(name)),
  );
}

/** Where the gateway of an embedded fleet keeps the keys that it signs tokens with. */
export function signingKeyFile(dir: DataDir): string {
  return join(dir.path, 'gateway-signing-key.json');
}

/** What only one service needs of the embedded fleet. */
function ownSettings(service: string, { dir }: EnvironmentSource, env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (service !== 'gateway') return {};
  // Who names an issuer of their own gets no embedded one beside it.
  if (env['AUTH_JWKS_URL'] !== undefined && env['AUTH_JWKS_URL'] !== '') return {};
  return { AUTH_EMBEDDED_ISSUER: 'true', AUTH_SIGNING_KEY_FILE: signingKeyFile(dir) };
}
