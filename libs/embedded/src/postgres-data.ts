import { createHash, randomBytes, randomUUID } from 'node:crypto';
import {
  chmod,
  chown,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, sep } from 'node:path';
import { errorCode, errorMessage } from '@flotilla/kernel';
import { commandLineOf } from './child-server.ts';
import { runCommand } from './command.ts';
import {
  DataDirectoryInUseError,
  DataDirectoryUnusableError,
  PostgresVersionMismatchError,
} from './errors.ts';
import { canReach, sharedStateDir, type PostgresBinaries, type ServerIdentity } from './postgres-binaries.ts';

export const superuser = 'postgres';
const passwordFile = 'superuser.password';

/** What makes one cluster unlike another; part of the key of a cached template. */
const clusterArguments = [
  '--auth=scram-sha-256',
  // Sorts and folds case alike on every machine, whatever locales it has.
  ...['--encoding=UTF8', '--locale-provider=builtin', '--locale=C.UTF-8', '--lc-collate=C', '--lc-ctype=C'],
  ...['--lc-messages=C', '--no-instructions'],
];

/**
 * Makes `dataDir` a data directory that this version of Postgres, run as `identity`, can serve: initialises
 * an empty or missing one (completely or not at all), and refuses one that cannot be used. With a template
 * cache, initialising is copying what an earlier initialisation made, password included: for tests.
 */
export async function prepareDataDir(
  dataDir: string,
  binaries: PostgresBinaries,
  identity: ServerIdentity | undefined,
  onProgress: (message: string) => void,
  templateCacheDir?: string,
): Promise<void> {
  await mkdir(dirname(dataDir), { recursive: true });
  if (identity !== undefined) await makeReachable(dataDir, identity, onProgress);
  const found = await contentOf(dataDir);
  if (found.kind === 'empty') {
    const target = await realpathOrSelf(dataDir);
    if (templateCacheDir === undefined) await initialise(target, binaries, identity, { sync: true });
    else await copyTemplate(target, templateCacheDir, binaries, identity);
    return;
  }
  if (found.kind === 'foreign') {
    throw new DataDirectoryUnusableError(
      dataDir,
      `holds other files (${found.sample}) and no Postgres data`,
      'Choose another directory, or empty this one.',
    );
  }
  if (found.version !== binaries.majorVersion) {
    throw new PostgresVersionMismatchError(dataDir, found.version, binaries.majorVersion);
  }
  await assertOwned(dataDir, identity);
  await discardStalePidFile(dataDir);
}

type Content =
  | { readonly kind: 'empty' }
  | { readonly kind: 'foreign'; readonly sample: string }
  | { readonly kind: 'postgres'; readonly version: string };

async function contentOf(dataDir: string): Promise<Content> {
  let names: string[];
  try {
    names = await readdir(dataDir);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return { kind: 'empty' };
    throw notPermitted(dataDir, error);
  }
  if (names.length === 0) return { kind: 'empty' };
  if (!names.includes('PG_VERSION')) return { kind: 'foreign', sample: names.slice(0, 3).join(', ') };
  return { kind: 'postgres', version: (await readFile(join(dataDir, 'PG_VERSION'), 'utf8')).trim() };
}

function notPermitted(dataDir: string, error: unknown): DataDirectoryUnusableError {
  return new DataDirectoryUnusableError(
    dataDir,
    `cannot be read: ${errorMessage(error)}`,
    'Run as the user that owns it, or choose another directory.',
    { cause: error },
  );
}

/**
 * Runs initdb beside the final place and moves the result there in one step: an interrupted start leaves
 * no half-made data directory behind.
 */
async function initialise(
  dataDir: string,
  binaries: PostgresBinaries,
  identity: ServerIdentity | undefined,
  options: { readonly sync: boolean },
): Promise<void> {
  const temporary = join(dirname(dataDir), `.${basename(dataDir)}.${randomUUID()}`);
  try {
    await mkdir(temporary, { mode: 0o700 });
    const cluster = join(temporary, 'cluster');
    const secret = join(temporary, 'password');
    const password = randomBytes(24).toString('base64url');
    await mkdir(cluster, { mode: 0o700 });
    await writeFile(secret, password, { mode: 0o600 });
    if (identity !== undefined) {
      for (const path of [temporary, cluster, secret]) await chown(path, identity.uid, identity.gid);
    }
    await runCommand(
      binaries.initdb,
      [
        `--pgdata=${cluster}`,
        `--username=${superuser}`,
        `--pwfile=${secret}`,
        ...clusterArguments,
        options.sync ? '--sync-method=fsync' : '--no-sync',
      ],
      { timeoutMs: 120_000, cwd: '/', ...identity },
    );
    const kept = join(cluster, passwordFile);
    await writeFile(kept, password, { mode: 0o600 });
    if (identity !== undefined) await chown(kept, identity.uid, identity.gid);
    await replaceEmptyDir(cluster, dataDir);
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function copyTemplate(
  dataDir: string,
  cacheDir: string,
  binaries: PostgresBinaries,
  identity: ServerIdentity | undefined,
): Promise<void> {
  const key = createHash('sha256')
    .update(JSON.stringify([binaries.version, identity?.uid ?? process.getuid?.(), clusterArguments]))
    .digest('hex');
  const template = join(cacheDir, `postgres-template-${binaries.version}-${key.slice(0, 12)}`);
  const parts = join(dirname(dataDir), `.${basename(dataDir)}.${randomUUID()}`);
  try {
    if ((await lstatOptional(template)) === undefined) {
      await initialise(dataDir, binaries, identity, { sync: false });
      const copy = `${template}.${randomUUID()}`;
      await mkdir(cacheDir, { recursive: true });
      await copyDirectory(dataDir, copy);
      try {
        await rename(copy, template);
      } catch (error) {
        await rm(copy, { recursive: true, force: true });
        if ((await lstatOptional(template)) === undefined) throw error; // else a process beside this one made it
      }
      return;
    }
    await copyDirectory(template, parts);
    await replaceEmptyDir(parts, dataDir);
  } finally {
    await rm(parts, { recursive: true, force: true });
  }
}

/** Keeps owners and modes, which fs.cp does not; shares the blocks where the file system can. */
async function copyDirectory(from: string, to: string): Promise<void> {
  await runCommand('cp', ['-a', from, to], { timeoutMs: 120_000 });
}

async function replaceEmptyDir(from: string, to: string): Promise<void> {
  try {
    await rmdir(to);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
  await rename(from, to);
}

/** The password of the superuser, kept in the data directory with mode 0600. */
export async function readSuperuserPassword(dataDir: string): Promise<string> {
  try {
    return (await readFile(join(dataDir, passwordFile), 'utf8')).trim();
  } catch (error) {
    throw new DataDirectoryUnusableError(
      dataDir,
      `has no readable ${passwordFile}: ${errorMessage(error)}`,
      'It was not made by Flotilla, or that file was removed: choose another directory, or start over with --fresh.',
      { cause: error },
    );
  }
}

async function assertOwned(dataDir: string, identity: ServerIdentity | undefined): Promise<void> {
  const { uid, mode } = await stat(dataDir);
  const serverUid = identity?.uid ?? process.getuid?.() ?? uid;
  if (uid !== serverUid) {
    if (identity === undefined) {
      throw new DataDirectoryUnusableError(
        dataDir,
        `belongs to another user (uid ${uid}, this is uid ${serverUid})`,
        'Run as that user, choose another directory, or start over with --fresh.',
      );
    }
    // Made by an ordinary user and now served by root's helper user: root may hand it over.
    await runCommand('chown', ['-R', `${identity.uid}:${identity.gid}`, `${dataDir}/`], {
      timeoutMs: 60_000,
    });
  }
  // Postgres refuses a directory that others can enter; copying it may have widened the mode.
  if ((mode & 0o077) !== 0) await chmod(dataDir, 0o700);
}

/**
 * After a crash the pid file stays. Postgres sees by itself that its process is gone (and waits for helpers
 * that are not), except when another process got that pid in the meantime, as after a container restart:
 * then it would refuse to start.
 */
async function discardStalePidFile(dataDir: string): Promise<void> {
  const pid = await postmasterPid(dataDir);
  const commandLine = pid === undefined ? undefined : await commandLineOf(pid);
  if (pid === undefined || commandLine === undefined) return;
  if (await serves(commandLine, dataDir)) throw new DataDirectoryInUseError('Postgres', dataDir, pid);
  await rm(join(dataDir, 'postmaster.pid'), { force: true });
}

async function serves(commandLine: string, dataDir: string): Promise<boolean> {
  const real = await realpath(dataDir);
  return commandLine.includes('postgres') && (commandLine.includes(dataDir) || commandLine.includes(real));
}

async function postmasterPid(dataDir: string): Promise<number | undefined> {
  const pid = Number.parseInt((await readPidFile(dataDir))[0] ?? '', 10);
  return Number.isInteger(pid) && pid > 0 ? pid : undefined;
}

/** Whether the postmaster with this pid says in its pid file that it accepts connections. */
export async function isPostmasterReady(dataDir: string, pid: number): Promise<boolean> {
  const lines = await readPidFile(dataDir);
  return lines[0] === String(pid) && lines[7]?.trim() === 'ready';
}

async function readPidFile(dataDir: string): Promise<string[]> {
  try {
    return (await readFile(join(dataDir, 'postmaster.pid'), 'utf8')).split('\n');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return [];
    throw notPermitted(dataDir, error);
  }
}

/**
 * A data directory below a closed one (as /root) cannot be served by the other user. Root then keeps the
 * data in {@link sharedStateDir}, and `dataDir` becomes a link to it.
 */
async function makeReachable(
  dataDir: string,
  identity: ServerIdentity,
  onProgress: (message: string) => void,
): Promise<void> {
  const parent = dirname(dataDir);
  if (await canReach(parent, identity)) return;
  if (parent.startsWith(join(tmpdir(), sep))) {
    // A fresh temporary directory (mkdtemp) is closed to others; passing through shows them no file names.
    await chmod(parent, (await stat(parent)).mode | 0o011);
    if (await canReach(parent, identity)) return;
  }
  const existing = await lstatOptional(dataDir);
  const home = join(
    sharedStateDir,
    `data-${createHash('sha256').update(dataDir).digest('hex').slice(0, 12)}`,
  );
  await mkdir(sharedStateDir, { recursive: true, mode: 0o755 });
  if (existing?.isSymbolicLink() === true) {
    await mkdir(await readlink(dataDir), { recursive: true, mode: 0o700 });
    return;
  }
  onProgress(`Keeping the Postgres data in ${home}, because the user "postgres" cannot reach ${dataDir}`);
  if (existing === undefined) {
    await mkdir(home, { recursive: true, mode: 0o700 });
  } else {
    await runCommand('mv', ['-T', dataDir, home], { timeoutMs: 600_000 });
  }
  await symlink(home, dataDir);
}

async function lstatOptional(path: string): Promise<Awaited<ReturnType<typeof lstat>> | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function realpathOrSelf(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return path;
    throw error;
  }
}

/**
 * Removes a data directory, also where it is a link to the place that root keeps it in. The server must not
 * run. Nothing happens when there is none.
 */
export async function removePostgresData(dataDir: string): Promise<void> {
  const existing = await lstatOptional(dataDir);
  if (existing === undefined) return;
  const pid = await postmasterPid(dataDir);
  const commandLine = pid === undefined ? undefined : await commandLineOf(pid);
  if (pid !== undefined && commandLine !== undefined && (await serves(commandLine, dataDir))) {
    throw new DataDirectoryInUseError('Postgres', dataDir, pid);
  }
  if (existing.isSymbolicLink()) await rm(await readlink(dataDir), { recursive: true, force: true });
  await rm(dataDir, { recursive: true, force: true });
}
