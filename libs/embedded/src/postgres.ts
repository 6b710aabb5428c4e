import { realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { systemClock } from '@flotilla/kernel';
import { ChildServer } from './child-server.ts';
import { databaseUrl, ensureDatabase, type DatabaseSpec } from './databases.ts';
import { EmbeddedOptionError, PortBusyError, ServerStartError } from './errors.ts';
import { assertPortFree, freePort, loopback } from './ports.ts';
import {
  postgresBinaries,
  serverIdentity,
  type PostgresBinaries,
  type ServerIdentity,
} from './postgres-binaries.ts';
import { isPostmasterReady, prepareDataDir, readSuperuserPassword, superuser } from './postgres-data.ts';
import { SupervisedServer } from './supervised-server.ts';

/** Values of `postgresql.conf`, by name, such as `{ shared_buffers: '1GB' }`. */
export type PostgresSettings = Readonly<Record<string, string | number | boolean>>;

/** What the embedded server is run with; every value can be replaced through `settings`. */
export const defaultPostgresSettings: PostgresSettings = {
  listen_addresses: loopback,
  // TCP only: no socket file that two clusters could fight over.
  unix_socket_directories: '',
  // A commit that was answered is on disk.
  fsync: true,
  synchronous_commit: true,
  // A dozen services with their pools, twice (scaled, or during a restart).
  max_connections: 300,
  shared_buffers: '256MB',
  max_wal_size: '2GB',
  // The fleet's statements are short; compiling them costs more than it saves.
  jit: false,
  timezone: 'UTC',
  log_timezone: 'UTC',
  log_line_prefix: '%m [%p] %q%u@%d ',
  cluster_name: 'flotilla',
};

export interface StartPostgresOptions {
  /** Created and initialised when missing or empty. */
  readonly dataDir: string;
  /** Default: a free one. */
  readonly port?: number;
  /** Default: beside the data directory, with `.log` appended to its name. */
  readonly logFile?: string;
  /** Added to {@link defaultPostgresSettings}. */
  readonly settings?: PostgresSettings;
  /** How long the server may take to be ready, recovery after a crash included. Default 60,000 ms. */
  readonly readyTimeoutMs?: number;
  /** Told in one sentence each what is being done besides starting the server. */
  readonly onProgress?: (message: string) => void;
  /**
   * Initialise by copying a data directory that is made once and kept here, which takes a fifth of the time;
   * all copies share one superuser password. For test data only. Default: initialise anew.
   */
  readonly templateCacheDir?: string;
  /** A directory to remove when this program dies without stopping the server. For test data only. */
  readonly removeWhenOrphaned?: string;
}

interface ResolvedPostgresOptions extends StartPostgresOptions {
  readonly port: number;
  readonly logFile: string;
  readonly identity: ServerIdentity | undefined;
  readonly binaries: PostgresBinaries;
  readonly onProgress: (message: string) => void;
}

/** A Postgres server, run as a child process on the loopback address. */
export class EmbeddedPostgres extends SupervisedServer {
  readonly port: number;
  readonly dataDir: string;
  /** Such as "18.4". */
  readonly version: string;
  /** For the superuser, with its password, on database `postgres`. Keep it out of logs. */
  readonly adminUrl: string;

  constructor(
    launch: () => Promise<ChildServer>,
    child: ChildServer,
    options: ResolvedPostgresOptions,
    adminPassword: string,
  ) {
    super(launch, child);
    this.port = options.port;
    this.dataDir = options.dataDir;
    this.version = options.binaries.version;
    this.adminUrl = databaseUrl(`postgres://${loopback}:${options.port}`, {
      name: 'postgres',
      role: superuser,
      password: adminPassword,
    });
  }

  /** Creates a database that only its own roles can connect to, and returns the URL for `role`. Idempotent. */
  ensureDatabase(spec: DatabaseSpec): Promise<string> {
    return ensureDatabase(this.adminUrl, spec);
  }
}

/**
 * Initialises the data directory if needed, starts the server and waits until it accepts connections. As
 * root it runs as the system user `postgres`. Throws `PORT_BUSY`, `POSTGRES_VERSION_MISMATCH`,
 * `DATA_DIRECTORY_IN_USE`, `DATA_DIRECTORY_UNUSABLE`, `POSTGRES_UNAVAILABLE`, or `SERVER_START_FAILED`
 * with the end of the log.
 */
export async function startPostgres(options: StartPostgresOptions): Promise<EmbeddedPostgres> {
  const onProgress = options.onProgress ?? (() => undefined);
  const identity = await serverIdentity(onProgress);
  const binaries = await postgresBinaries(identity, onProgress);
  const dataDir = resolve(options.dataDir);
  const attempts = options.port === undefined ? 5 : 1;
  for (let attempt = 1; ; attempt += 1) {
    const resolved: ResolvedPostgresOptions = {
      ...options,
      dataDir,
      identity,
      binaries,
      onProgress,
      port: options.port ?? (await freePort()),
      logFile: resolve(options.logFile ?? `${dataDir}.log`),
    };
    try {
      const child = await launchPostgres(resolved);
      const password = await readSuperuserPassword(dataDir);
      return new EmbeddedPostgres(() => launchPostgres(resolved), child, resolved, password);
    } catch (error) {
      if (!(error instanceof PortBusyError) || attempt >= attempts) throw error;
    }
  }
}

async function launchPostgres(options: ResolvedPostgresOptions): Promise<ChildServer> {
  await assertPortFree(options.port, 'Postgres');
  await prepareDataDir(
    options.dataDir,
    options.binaries,
    options.identity,
    options.onProgress,
    options.templateCacheDir,
  );
  await readSuperuserPassword(options.dataDir); // fails now rather than after the start
  const deadlineMs = options.readyTimeoutMs ?? 60_000;
  const start = systemClock.monotonicMs();
  for (;;) {
    try {
      return await launchOnce(options, deadlineMs);
    } catch (error) {
      if (!(error instanceof ServerStartError)) throw error;
      if (error.logTail.includes('Address already in use')) {
        throw new PortBusyError(options.port, 'Postgres', { cause: error });
      }
      // After kill -9 the old server's helpers take a moment to notice and to let go of the shared memory.
      const waitsForOldProcesses = error.logTail.includes('pre-existing shared memory block');
      if (!waitsForOldProcesses || systemClock.monotonicMs() - start > deadlineMs) throw error;
      await systemClock.sleep(50);
    }
  }
}

async function launchOnce(options: ResolvedPostgresOptions, deadlineMs: number): Promise<ChildServer> {
  const dataDir = await realpath(options.dataDir);
  const child = await ChildServer.start({
    name: 'Postgres',
    command: options.binaries.postgres,
    args: ['-D', dataDir, '-p', String(options.port), ...settingArguments(options.settings ?? {})],
    logFile: options.logFile,
    // SIGINT is Postgres' fast shutdown: it rolls back what is open, writes a checkpoint and ends.
    stopSignal: 'SIGINT',
    stopTimeoutMs: 20_000,
    ...options.identity,
    ...(options.removeWhenOrphaned === undefined ? {} : { removeWhenOrphaned: options.removeWhenOrphaned }),
  });
  await child.waitUntilReady(() => isPostmasterReady(dataDir, child.pid), deadlineMs);
  return child;
}

function settingArguments(settings: PostgresSettings): string[] {
  return Object.entries({ ...defaultPostgresSettings, ...settings }).flatMap(([name, value]) => {
    if (!/^[a-zA-Z_][\w.]*$/.test(name)) throw new EmbeddedOptionError(`"${name}" is no Postgres setting`);
    return ['-c', `${name}=${typeof value === 'boolean' ? (value ? 'on' : 'off') : value}`];
  });
}
