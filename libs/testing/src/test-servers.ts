import { ServerHost } from './server-host.ts';
import { askDesk, type ServerKind } from './server-desk.ts';

/** The variables through which a run is told of servers that are there already. */
export const testServerVariables = {
  nats: 'FLOTILLA_TEST_NATS_URL',
  postgres: 'FLOTILLA_TEST_POSTGRES_URL',
  /** Set by the Jest global setup: where to ask for servers. */
  desk: 'FLOTILLA_TEST_SERVERS',
} as const;

export interface TestServers {
  readonly natsUrl: string;
  /** The superuser's, on database `postgres`. */
  readonly postgresUrl: string;
}

/**
 * The NATS and the Postgres that all tests of this run share. In order: the servers that
 * `FLOTILLA_TEST_NATS_URL` and `FLOTILLA_TEST_POSTGRES_URL` name; those of the Jest global setup; servers of
 * this program's own, which end with it. Whatever a test makes on them needs a unique name.
 */
export async function testServers(): Promise<TestServers> {
  const [natsUrl, postgresUrl] = await Promise.all([sharedNatsUrl(), sharedPostgresUrl()]);
  return { natsUrl, postgresUrl };
}

/** Of the NATS that all tests of this run share; see {@link testServers}. */
export function sharedNatsUrl(): Promise<string> {
  return sharedUrl('nats', () => ownHost().natsUrl());
}

/** Of the Postgres that all tests of this run share, for its superuser; see {@link testServers}. */
export function sharedPostgresUrl(): Promise<string> {
  return sharedUrl('postgres', () => ownHost().postgresUrl());
}

/** Stops the servers that this program started for itself; nothing for servers it was told of. */
export async function stopTestServers(): Promise<void> {
  const stopped = host;
  host = undefined;
  await stopped?.stop();
}

let host: ServerHost | undefined;

function ownHost(): ServerHost {
  host ??= new ServerHost();
  return host;
}

function sharedUrl(kind: ServerKind, own: () => Promise<string>): Promise<string> {
  const named = process.env[testServerVariables[kind]];
  if (named !== undefined && named !== '') return Promise.resolve(named);
  const desk = process.env[testServerVariables.desk];
  if (desk !== undefined && desk !== '') return askDesk(desk, kind);
  return own();
}
