import { chmod, mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { errorCode, systemClock } from '@flotilla/kernel';
import { ChildServer, commandLineOf } from './child-server.ts';
import {
  DataDirectoryInUseError,
  EmbeddedOptionError,
  NatsReloadError,
  PortBusyError,
  ServerStartError,
} from './errors.ts';
import { assertPortFree, freePort, loopback } from './ports.ts';
import { SupervisedServer } from './supervised-server.ts';

/** Which subjects a NATS user may use; what is not allowed is refused. */
export interface NatsPermissions {
  readonly publish?: { readonly allow?: readonly string[]; readonly deny?: readonly string[] };
  readonly subscribe?: { readonly allow?: readonly string[]; readonly deny?: readonly string[] };
  /** Lets the user publish to the reply subject of a request it received: how many times, and for how long. */
  readonly allow_responses?: boolean | { readonly max: number; readonly expires: string };
}

export interface NatsUser {
  readonly user: string;
  readonly password: string;
  /** Without permissions the user may do everything. */
  readonly permissions?: NatsPermissions;
}

export interface StartNatsOptions {
  /** The nats-server program; see `locateNatsServer`. */
  readonly binary: string;
  /** Port for clients. Default: a free one. */
  readonly port?: number;
  /**
   * The address it listens on. Default the loopback address; another is for a server in a network namespace, where the
   * loopback address is nobody else's.
   */
  readonly host?: string;
  /** Port of the monitoring endpoints (`/healthz`, `/jsz`, ...). Default: none. */
  readonly httpPort?: number;
  /** Where JetStream keeps its streams, and where `nats.conf` and the log go; created when missing. */
  readonly storeDir: string;
  /** Default `flotilla`. */
  readonly serverName?: string;
  /**
   * Users with their permissions; they lie in `users.conf` beside `nats.conf`, mode 0600. They can be changed while the
   * server runs, with {@link EmbeddedNats.setUsers}. Default: anybody who reaches the loopback address may do everything.
   */
  readonly users?: readonly NatsUser[];
  /** More lines for `nats.conf`, put after the ones that are always there. */
  readonly config?: string;
  /** Default `nats.log` in the store directory. */
  readonly logFile?: string;
  /** How long the server may take to be ready; large stores take longer to recover. Default 30,000 ms. */
  readonly readyTimeoutMs?: number;
  /** A directory to remove when this program dies without stopping the server. For test data only. */
  readonly removeWhenOrphaned?: string;
}

/** A nats-server with JetStream, run as a child process. */
export class EmbeddedNats extends SupervisedServer {
  readonly port: number;
  /** Of the configuration: unique in a cluster. */
  readonly serverName: string;
  /** For clients: `nats://127.0.0.1:<port>`, without credentials. */
  readonly url: string;
  /** Of the monitoring endpoints, when it has them. */
  readonly monitorUrl: string | undefined;
  readonly storeDir: string;
  readonly configFile: string;

  constructor(launch: () => Promise<ChildServer>, child: ChildServer, options: ResolvedNatsOptions) {
    super(launch, child);
    this.port = options.port;
    this.serverName = options.serverName;
    this.url = `nats://${options.host}:${options.port}`;
    this.monitorUrl =
      options.httpPort === undefined ? undefined : `http://${options.host}:${options.httpPort}`;
    this.storeDir = options.storeDir;
    this.configFile = options.configFile;
  }

  /** Replaces the users without a restart; see {@link setNatsUsers}. They stay when it is restarted. */
  setUsers(users: readonly NatsUser[]): Promise<void> {
    return setNatsUsers({ pid: this.pid, configFile: this.configFile, logFile: this.logFile }, users);
  }
}

/** A server that runs, started by this program or another. */
export interface RunningNats {
  readonly pid: number;
  /** Its `nats.conf`, written by {@link startNats} with users. */
  readonly configFile: string;
  readonly logFile: string;
}

/** How long the server may take to read its configuration again. */
const RELOAD_TIMEOUT_MS = 10_000;

/**
 * Replaces the users of a running server that was started with users: who may go on stays connected, whoever may not
 * is cut off. Resolves when the server works with them. Throws `NATS_RELOAD_FAILED`.
 */
export async function setNatsUsers(
  { pid, configFile, logFile }: RunningNats,
  users: readonly NatsUser[],
): Promise<void> {
  const { size } = await stat(logFile);
  await writeUsers(configFile, users);
  try {
    process.kill(pid, 'SIGHUP');
  } catch (error) {
    throw new NatsReloadError(pid, 'it does not run', { cause: error });
  }
  const start = systemClock.monotonicMs();
  for (;;) {
    const said = (await readFile(logFile)).subarray(size).toString('utf8');
    if (said.includes('Reloaded server configuration')) return;
    const failure = /Failed to reload server configuration: (.*)/.exec(said)?.[1];
    if (failure !== undefined) throw new NatsReloadError(pid, failure);
    if (systemClock.monotonicMs() - start > RELOAD_TIMEOUT_MS) {
      throw new NatsReloadError(pid, `it did not say so within ${RELOAD_TIMEOUT_MS} ms`);
    }
    await systemClock.sleep(10);
  }
}

/** The part of a configuration that says who may connect and do what, for `include` in a `nats.conf`. */
export function natsUsersConfig(users: readonly NatsUser[]): string {
  return `authorization: ${JSON.stringify({ users }, null, 2)}\n`;
}

async function writeUsers(configFile: string, users: readonly NatsUser[]): Promise<void> {
  await writePrivate(join(dirname(configFile), USERS_FILE), natsUsersConfig(users));
}

async function writePrivate(file: string, content: string): Promise<void> {
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, content, { mode: 0o600 });
  await chmod(temporary, 0o600);
  await rename(temporary, file);
}

const USERS_FILE = 'users.conf';

interface ResolvedNatsOptions extends StartNatsOptions {
  readonly port: number;
  readonly host: string;
  readonly serverName: string;
  readonly configFile: string;
  readonly pidFile: string;
  readonly logFile: string;
}

/**
 * Writes `nats.conf`, starts the server and waits until it answers. Throws `PORT_BUSY` when something else
 * listens on the port, `DATA_DIRECTORY_IN_USE` when another server has the store, `SERVER_START_FAILED`
 * with the end of the log otherwise.
 */
export async function startNats(options: StartNatsOptions): Promise<EmbeddedNats> {
  const attempts = options.port === undefined ? 5 : 1;
  for (let attempt = 1; ; attempt += 1) {
    const resolved = await resolveNatsOptions(options);
    try {
      if (options.users !== undefined) {
        // Once: a later start keeps what the users have been set to since.
        await mkdir(resolved.storeDir, { recursive: true });
        await assertStoreUnused(resolved);
        await writeUsers(resolved.configFile, options.users);
      }
      const child = await launchNats(resolved);
      return new EmbeddedNats(() => launchNats(resolved), child, resolved);
    } catch (error) {
      if (!(error instanceof PortBusyError) || attempt >= attempts) throw error;
    }
  }
}

async function resolveNatsOptions(options: StartNatsOptions): Promise<ResolvedNatsOptions> {
  const storeDir = resolve(options.storeDir);
  if (/["\n]/.test(storeDir))
    throw new EmbeddedOptionError(`storeDir must have no quote or line break: ${storeDir}`);
  return {
    ...options,
    storeDir,
    port: options.port ?? (await freePort()),
    host: options.host ?? loopback,
    serverName: options.serverName ?? 'flotilla',
    configFile: join(storeDir, 'nats.conf'),
    pidFile: join(storeDir, 'nats.pid'),
    logFile: resolve(options.logFile ?? join(storeDir, 'nats.log')),
  };
}

async function launchNats(options: ResolvedNatsOptions): Promise<ChildServer> {
  await mkdir(options.storeDir, { recursive: true });
  await assertStoreUnused(options);
  if (options.host === loopback) {
    await assertPortFree(options.port, 'NATS');
    if (options.httpPort !== undefined) await assertPortFree(options.httpPort, 'NATS monitoring');
  }
  await writePrivate(options.configFile, natsConfig(options));
  const child = await ChildServer.start({
    name: 'NATS',
    command: options.binary,
    args: ['--config', options.configFile],
    logFile: options.logFile,
    stopSignal: 'SIGTERM',
    ...(options.removeWhenOrphaned === undefined ? {} : { removeWhenOrphaned: options.removeWhenOrphaned }),
  });
  try {
    await child.waitUntilReady(() => answersAs(options), options.readyTimeoutMs ?? 30_000);
  } catch (error) {
    if (error instanceof ServerStartError && error.logTail.includes('address already in use')) {
      throw new PortBusyError(busyPort(error.logTail) ?? options.port, 'NATS', { cause: error });
    }
    throw error;
  }
  return child;
}

/** The configuration file of the embedded server. It is plain: one can start `nats-server -c` with it by hand. */
export function natsConfig(
  options: Pick<
    ResolvedNatsOptions,
    'port' | 'httpPort' | 'storeDir' | 'serverName' | 'pidFile' | 'users' | 'config'
  > & { readonly host?: string },
): string {
  const { host = loopback } = options;
  const lines = [
    `server_name: ${quote(options.serverName)}`,
    `listen: "${host}:${options.port}"`,
    ...(options.httpPort === undefined ? [] : [`http: "${host}:${options.httpPort}"`]),
    `pid_file: ${quote(options.pidFile)}`,
    '# The largest message that is accepted. Above 8 MB nats-server itself warns: send a reference instead.',
    'max_payload: 8MB',
    'jetstream {',
    `  store_dir: ${quote(options.storeDir)}`,
    '  # An acknowledged publish is on disk, not in a buffer.',
    '  sync_interval: always',
    '}',
  ];
  if (options.users !== undefined) lines.push(`include "${USERS_FILE}"`);
  if (options.config !== undefined) lines.push(options.config);
  return `${lines.join('\n')}\n`;
}

function quote(text: string): string {
  return JSON.stringify(text);
}

/** Two servers on one store destroy it, and nats-server itself does not look. */
async function assertStoreUnused(options: ResolvedNatsOptions): Promise<void> {
  let pid: number;
  try {
    pid = Number.parseInt(await readFile(options.pidFile, 'utf8'), 10);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw error;
  }
  if (!Number.isInteger(pid) || pid <= 0) return;
  const commandLine = await commandLineOf(pid);
  if (commandLine?.includes(options.configFile) === true) {
    throw new DataDirectoryInUseError('NATS', options.storeDir, pid);
  }
}

/** Whether the server that greets on the port is this one, with JetStream on. */
function answersAs(options: ResolvedNatsOptions): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ port: options.port, host: options.host });
    let greeting = '';
    const answer = (value: boolean): void => {
      socket.destroy();
      done(value);
    };
    socket.setTimeout(1_000, () => answer(false));
    socket.once('error', () => answer(false));
    socket.once('end', () => answer(false));
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      greeting += chunk;
      const line = /^INFO (\{.*\})\s*\r\n/.exec(greeting)?.[1];
      if (line !== undefined) answer(isReadyInfo(JSON.parse(line), options.serverName));
    });
  });
}

function isReadyInfo(info: unknown, serverName: string): boolean {
  if (typeof info !== 'object' || info === null) return false;
  return (
    'server_name' in info && info.server_name === serverName && 'jetstream' in info && info.jetstream === true
  );
}

function busyPort(log: string): number | undefined {
  const port = /listen tcp [^ ]*:(\d+): bind: address already in use/.exec(log)?.[1];
  return port === undefined ? undefined : Number(port);
}
