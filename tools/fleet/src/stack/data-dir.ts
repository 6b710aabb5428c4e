import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { removePostgresData } from '@flotilla/embedded';
import { errorCode } from '@flotilla/kernel';
import { DataFormatError, ForeignDirectoryError } from '../fleet.errors.ts';

/** Counts incompatible changes of what the data directory holds. */
const FORMAT = '1';

/** Kept by `--fresh`: what says whose directory it is. */
const KEPT_WHEN_FRESH: ReadonlySet<string> = new Set(['fleet.lock', 'format']);

/** The places in a fleet's data directory. */
export interface DataDir {
  readonly path: string;
  readonly postgres: string;
  readonly nats: string;
  readonly logs: string;
  readonly lockFile: string;
  readonly stateFile: string;
  readonly secretsFile: string;
  /** The header that `curl -H @FILE` shows to act as an operator. */
  readonly operatorHeaderFile: string;
}

export function dataDirAt(path: string): DataDir {
  return {
    path,
    postgres: join(path, 'postgres'),
    nats: join(path, 'nats'),
    logs: join(path, 'logs'),
    lockFile: join(path, 'fleet.lock'),
    stateFile: join(path, 'state.json'),
    secretsFile: join(path, 'secrets.json'),
    operatorHeaderFile: join(path, 'operator-header.txt'),
  };
}

/**
 * Makes the directory if there is none. Throws {@link ForeignDirectoryError} when it holds something else, and
 * {@link DataFormatError} when another version wrote it (unless it is about to be emptied).
 */
export async function openDataDir(dir: DataDir, options: { readonly fresh?: boolean } = {}): Promise<void> {
  // Others may pass through to what the postgres user serves; what is secret has its own mode.
  await mkdir(dir.path, { recursive: true, mode: 0o711 });
  const formatFile = join(dir.path, 'format');
  const names = readdirSync(dir.path).filter((name) => name !== 'fleet.lock');
  if (names.length > 0 && !names.includes('format')) {
    throw new ForeignDirectoryError(dir.path, names.slice(0, 3).join(', '));
  }
  const found = existsSync(formatFile) ? readFileSync(formatFile, 'utf8').trim() : FORMAT;
  if (found !== FORMAT && options.fresh !== true) throw new DataFormatError(dir.path, found, FORMAT);
  await writeFile(formatFile, `${FORMAT}\n`);
  await mkdir(dir.logs, { recursive: true, mode: 0o700 });
}

/** Deletes all data: databases, streams, logs, passwords. The caller holds the lock. */
export async function emptyDataDir(dir: DataDir): Promise<void> {
  await removePostgresData(dir.postgres);
  for (const name of readdirSync(dir.path)) {
    if (!KEPT_WHEN_FRESH.has(name)) await rm(join(dir.path, name), { recursive: true, force: true });
  }
}

/** The generated passwords of a data directory, each made when it is first asked for. */
export class Secrets {
  readonly #file: string;
  readonly #values: Record<string, string>;

  private constructor(file: string, values: Record<string, string>) {
    this.#file = file;
    this.#values = values;
  }

  static async open(dir: DataDir): Promise<Secrets> {
    try {
      const values = JSON.parse(await readFile(dir.secretsFile, 'utf8')) as Record<string, string>;
      return new Secrets(dir.secretsFile, values);
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') throw error;
      return new Secrets(dir.secretsFile, {});
    }
  }

  /** The secrets by name; new ones are on disk before they are returned. */
  async get<N extends string>(...names: readonly N[]): Promise<Record<N, string>> {
    const missing = names.filter((name) => this.#values[name] === undefined);
    for (const name of missing) this.#values[name] = randomBytes(24).toString('base64url');
    if (missing.length > 0) await writePrivate(this.#file, JSON.stringify(this.#values, null, 2));
    return Object.fromEntries(names.map((name) => [name, this.#values[name]])) as Record<N, string>;
  }
}

/** Replaces a file that only its owner may read. */
export async function writePrivate(file: string, content: string): Promise<void> {
  const temporary = `${file}.${process.pid}.tmp`;
  await writeFile(temporary, content, { mode: 0o600 });
  await chmod(temporary, 0o600);
  await rename(temporary, file);
}
