import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { systemClock } from '@flotilla/kernel';
import { commandLineOf } from '../src/child-server.ts';
import { defaultCacheDir } from '../src/index.ts';
import { temporaryDirectories } from './support.ts';

const newDirectory = temporaryDirectories();

/** This library is below @flotilla/testing, whose `until` it therefore cannot use. */
async function eventually(what: string, condition: () => Promise<boolean>): Promise<void> {
  const start = systemClock.monotonicMs();
  while (!(await condition())) {
    if (systemClock.monotonicMs() - start > 20_000) throw new Error(`waited 20 s until ${what}`);
    await systemClock.sleep(20);
  }
}

async function startParent(dir: string): Promise<{ parent: ChildProcess; pids: number[] }> {
  const script = fileURLToPath(new URL('fixtures/parent.ts', import.meta.url));
  const parent = spawn(process.execPath, ['--conditions=@flotilla/source', script, dir, defaultCacheDir()], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const line of createInterface({ input: parent.stdout })) {
    const message: unknown = JSON.parse(line);
    if (typeof message === 'object' && message !== null && 'pids' in message && Array.isArray(message.pids)) {
      return { parent, pids: message.pids.map(Number) };
    }
  }
  throw new Error('the parent ended without starting its servers');
}

describe('a parent that does not stop its servers', () => {
  it.each(['SIGKILL', 'SIGINT'] as const)(
    'takes them and their temporary data along when %s ends it',
    async (signal) => {
      const dir = await newDirectory();
      await mkdir(dir, { recursive: true });
      const { parent, pids } = await startParent(dir);
      for (const pid of pids) expect(await commandLineOf(pid)).toMatch(/nats|postgres/);
      parent.kill(signal);
      await eventually('both servers are gone', async () => {
        const left = await Promise.all(pids.map(commandLineOf));
        return left.every((commandLine) => commandLine === undefined);
      });
      await eventually('the data is removed', async () => (await readdir(dir)).length === 0);
    },
  );
});
