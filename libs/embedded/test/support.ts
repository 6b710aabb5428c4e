import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { locateNatsServer, startNats, type EmbeddedNats, type StartNatsOptions } from '../src/index.ts';

/** A directory that is removed after the test file, reachable for the user Postgres runs as. */
export function temporaryDirectories(): () => Promise<string> {
  const made: string[] = [];
  afterAll(async () => {
    for (const dir of made) await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  });
  return async () => {
    const dir = await mkdtemp(join(tmpdir(), 'flotilla-embedded-'));
    made.push(dir);
    await chmod(dir, 0o711);
    return dir;
  };
}

/** The first rejection's error, which must be of the class. */
export async function errorOf<E extends Error>(
  type: new (...parameters: never[]) => E,
  promise: Promise<unknown>,
): Promise<E> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof type) return error;
    throw error;
  }
  throw new Error(`expected a ${type.name}, but nothing was thrown`);
}

export async function natsIn(
  storeDir: string,
  options: Partial<StartNatsOptions> = {},
): Promise<EmbeddedNats> {
  const binary = await locateNatsServer();
  return startNats({ binary: binary.path, storeDir, ...options });
}
