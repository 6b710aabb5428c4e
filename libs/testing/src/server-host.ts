import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  defaultCacheDir,
  locateNatsServer,
  startNats,
  startPostgres,
  type EmbeddedNats,
  type EmbeddedPostgres,
  type PostgresSettings,
  type StartNatsOptions,
  type SupervisedServer,
} from '@flotilla/embedded';

export type StartTestNatsOptions = Pick<
  StartNatsOptions,
  'port' | 'httpPort' | 'users' | 'config' | 'serverName'
>;

export interface StartTestPostgresOptions {
  readonly port?: number;
  readonly settings?: PostgresSettings;
}

/** A server on temporary data; `dispose` stops it and removes the data. */
export interface TestServer<S> extends AsyncDisposable {
  readonly server: S;
  readonly url: string;
  dispose(): Promise<void>;
}

/**
 * A nats-server of its own, on an empty temporary store, in some 50 ms: for a test that kills, restarts or
 * configures it, or wants no other's streams beside its own.
 */
export async function startTestNats(options: StartTestNatsOptions = {}): Promise<TestServer<EmbeddedNats>> {
  const binary = await locateNatsServer();
  return inTemporaryDir('nats', async (dir) => {
    const server = await startNats({
      ...options,
      binary: binary.path,
      storeDir: dir,
      removeWhenOrphaned: dir,
    });
    return { server, url: server.url };
  });
}

/**
 * A Postgres of its own, on empty temporary data, in some 200 ms once the cache holds initialised data; `url`
 * is the superuser's. It runs without fsync: kill -9 of the server loses nothing, only a power cut would.
 */
export async function startTestPostgres(
  options: StartTestPostgresOptions = {},
): Promise<TestServer<EmbeddedPostgres>> {
  return inTemporaryDir('postgres', async (dir) => {
    const server = await startPostgres({
      dataDir: join(dir, 'data'),
      templateCacheDir: defaultCacheDir(),
      removeWhenOrphaned: dir,
      settings: { fsync: false, full_page_writes: false, ...options.settings },
      ...(options.port === undefined ? {} : { port: options.port }),
    });
    return { server, url: server.adminUrl };
  });
}

async function inTemporaryDir<S extends SupervisedServer>(
  name: string,
  start: (dir: string) => Promise<{ readonly server: S; readonly url: string }>,
): Promise<TestServer<S>> {
  const dir = await mkdtemp(join(tmpdir(), `flotilla-test-${name}-`));
  const remove = (): Promise<void> => rm(dir, { recursive: true, force: true, maxRetries: 5 });
  try {
    await chmod(dir, 0o711); // Postgres may run as another user than this one
    const { server, url } = await start(dir);
    server.unref(); // a test that fails before its clean-up must not keep the test runner from ending
    const dispose = async (): Promise<void> => {
      await server.stop();
      await remove();
    };
    return { server, url, dispose, [Symbol.asyncDispose]: dispose };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** One NATS and one Postgres, each started when first asked for. */
export class ServerHost implements AsyncDisposable {
  #nats: Promise<TestServer<EmbeddedNats>> | undefined;
  #postgres: Promise<TestServer<EmbeddedPostgres>> | undefined;

  async natsUrl(): Promise<string> {
    this.#nats ??= startTestNats();
    return (await this.#nats).url;
  }

  async postgresUrl(): Promise<string> {
    this.#postgres ??= startTestPostgres();
    return (await this.#postgres).url;
  }

  async stop(): Promise<void> {
    const started = [this.#nats, this.#postgres];
    this.#nats = undefined;
    this.#postgres = undefined;
    await Promise.all(started.map(async (server) => (await server)?.dispose()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
