import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { ServiceManifest } from '@flotilla/contracts-protocol';
import {
  databaseUrl,
  defaultCacheDir,
  locateNatsServer,
  removePostgresData,
  startNats,
  startPostgres,
  type EmbeddedNats,
  type EmbeddedPostgres,
  type NatsUser,
} from '@flotilla/embedded';
import {
  connectNats,
  FLEET_USERS,
  inboxPrefixOf,
  permissionsOf,
  provision,
  provisionerPermissions,
  topologyOf,
} from '@flotilla/messaging';
import { migrate, type MigrationClass } from '@flotilla/persistence/migrate';
import { chassisServiceMigrations } from '@flotilla/service/migrations';
import { Client } from 'pg';
import { BenchProcess, fixtureMain } from './bench-process.ts';
import type { Watched } from './proc.ts';

/** A service of `src/fixtures`. */
export interface Fixture {
  /** Its folder. */
  readonly name: string;
  readonly manifest: ServiceManifest;
  readonly migrations?: readonly MigrationClass[];
}

export interface BenchStackOptions {
  /** Made, and removed at the end. */
  readonly directory: string;
  readonly fixtures: readonly Fixture[];
  readonly cpuProf: string | undefined;
  readonly pgStat: boolean;
  readonly note: (text: string) => void;
}

/** Postgres settings that make it count statements. */
export const pgStatSettings = {
  shared_preload_libraries: 'pg_stat_statements',
  'pg_stat_statements.max': 5_000,
} as const;

const PASSWORD = 'bench';
const BENCH_USER = 'bench';

/** Services have the permissions that follow from their manifests, as in a fleet: they cost something too. */
function natsUsers(fixtures: readonly Fixture[]): NatsUser[] {
  const fleet = fixtures.map(({ manifest }) => manifest);
  const { provisioner } = FLEET_USERS;
  return [
    { user: BENCH_USER, password: PASSWORD },
    { user: provisioner, password: PASSWORD, permissions: provisionerPermissions(provisioner) },
    ...fleet.map((manifest) => ({
      user: manifest.name,
      password: PASSWORD,
      permissions: permissionsOf(manifest, fleet),
    })),
  ];
}

/**
 * NATS and Postgres with their durable settings (sync_interval: always, fsync), as `fleet up` runs them, and the
 * services of `src/fixtures` as processes against them.
 */
export class BenchStack {
  readonly nats: EmbeddedNats;
  readonly postgres: EmbeddedPostgres;
  readonly versions: Readonly<Record<string, string>>;
  readonly #options: BenchStackOptions;
  readonly #databases = new Map<string, string>();
  readonly #processes: BenchProcess[] = [];

  private constructor(
    options: BenchStackOptions,
    nats: EmbeddedNats,
    postgres: EmbeddedPostgres,
    natsVersion: string,
  ) {
    this.#options = options;
    this.nats = nats;
    this.postgres = postgres;
    this.versions = { nats: natsVersion, postgres: postgres.version };
  }

  static async start(options: BenchStackOptions): Promise<BenchStack> {
    const { directory, note, fixtures } = options;
    mkdirSync(directory, { recursive: true, mode: 0o711 });
    const binary = await locateNatsServer({ onProgress: note });
    const nats = await startNats({
      binary: binary.path,
      storeDir: join(directory, 'nats'),
      users: natsUsers(fixtures),
      // What is no service: the bare client, other frameworks, the signals between the processes of a benchmark.
      config: `no_auth_user: ${BENCH_USER}`,
    });
    let postgres: EmbeddedPostgres;
    try {
      postgres = await startPostgres({
        dataDir: join(directory, 'postgres'),
        onProgress: note,
        ...(options.pgStat && { settings: pgStatSettings }),
      });
    } catch (error) {
      await nats.stop();
      rmSync(directory, { recursive: true, force: true });
      throw error;
    }
    const stack = new BenchStack(options, nats, postgres, binary.version);
    try {
      await stack.#prepare(fixtures);
    } catch (error) {
      await stack.stop();
      throw error;
    }
    return stack;
  }

  /** The two servers, for the CPU meter. */
  get servers(): Watched[] {
    return [
      { name: 'nats', pid: this.nats.pid },
      { name: 'postgres', pid: this.postgres.pid, withChildren: true },
    ];
  }

  /** Starts a process of a fixture; `name` is what figures call it. */
  async run(
    fixture: Fixture,
    name: string = fixture.name,
    env: NodeJS.ProcessEnv = {},
  ): Promise<BenchProcess> {
    const url = this.#databases.get(fixture.name);
    return this.runMain(name, fixtureMain(fixture.name), {
      NATS_USER: fixture.manifest.name,
      NATS_PASSWORD: PASSWORD,
      ...(url !== undefined && { DATABASE_URL: url }),
      ...env,
    });
  }

  /** Starts any program as a process of the benchmark, with the addresses of the servers in its environment. */
  async runMain(name: string, main: string, env: NodeJS.ProcessEnv = {}): Promise<BenchProcess> {
    const { PATH = '', HOME = '' } = process.env;
    const started = await BenchProcess.start({
      name,
      main,
      logFile: join(this.#options.directory, `${name}.log`),
      cpuProf: this.#options.cpuProf,
      env: {
        PATH,
        HOME,
        NODE_ENV: 'production',
        NATS_URL: this.nats.url,
        PORT: '0',
        LOG_LEVEL: 'info',
        NODE_COMPILE_CACHE: join(defaultCacheDir(process.env), 'compile-cache'),
        ...env,
      },
    });
    this.#processes.push(started);
    return started;
  }

  /** Makes a database of its own, empty; its URL. */
  database(name: string): Promise<string> {
    return this.postgres.ensureDatabase({ name, role: name, password: PASSWORD });
  }

  /** Runs a statement in the database of a fixture, as its role. */
  async sql<R>(fixture: Fixture, text: string, parameters: readonly unknown[] = []): Promise<R[]> {
    return query<R>(this.#databases.get(fixture.name) ?? '', text, parameters);
  }

  async stopProcesses(): Promise<void> {
    await Promise.all(this.#processes.splice(0).map((each) => each.stop()));
  }

  /** Stops everything and removes the data. */
  async stop(): Promise<void> {
    await this.stopProcesses();
    await Promise.all([this.nats.stop(), this.postgres.stop()]);
    await removePostgresData(this.postgres.dataDir);
    rmSync(this.#options.directory, { recursive: true, force: true });
  }

  async #prepare(fixtures: readonly Fixture[]): Promise<void> {
    if (this.#options.pgStat) await query(this.postgres.adminUrl, 'CREATE EXTENSION pg_stat_statements');
    for (const { name, manifest, migrations = [] } of fixtures) {
      if (!manifest.database) continue;
      const own = { name: manifest.name, role: manifest.name, password: PASSWORD };
      const migrator = { role: `${manifest.name}_migrator`, password: PASSWORD };
      this.#databases.set(name, await this.postgres.ensureDatabase({ ...own, migrator }));
      await migrate({
        url: databaseUrl(this.postgres.adminUrl, { ...own, ...migrator }),
        applicationRole: own.role,
        migrations: [...chassisServiceMigrations, ...migrations],
      });
    }
    const { provisioner } = FLEET_USERS;
    const connection = await connectNats({
      servers: this.nats.url,
      name: 'bench provision',
      credentials: { user: provisioner, password: PASSWORD },
      inboxPrefix: inboxPrefixOf(provisioner),
    });
    try {
      await provision(connection, topologyOf(fixtures.map(({ manifest }) => manifest)));
    } finally {
      await connection.close();
    }
  }
}

/** Runs one statement on a connection of its own. */
export async function query<R>(url: string, text: string, parameters: readonly unknown[] = []): Promise<R[]> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  await client.connect();
  try {
    return (await client.query(text, [...parameters])).rows as R[];
  } finally {
    await client.end();
  }
}
