import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { until } from '@flotilla/testing';
import { isAlive } from '../src/stack/processes.ts';

it('ends what a killed fleet leaves behind, also what ignores SIGTERM', async () => {
  const parent = spawn(
    process.execPath,
    ['--conditions=@flotilla/source', join(import.meta.dirname, 'fixtures/guarded-parent.ts')],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const line = await new Promise<string>((resolve) =>
    parent.stdout.once('data', (data: Buffer) => resolve(data.toString())),
  );
  const pids = JSON.parse(line) as number[];
  expect(pids.map(isAlive)).toEqual([true, true]);
  parent.kill('SIGKILL');
  await until(() => !pids.some(isAlive), { timeoutMs: 10_000 });
});
