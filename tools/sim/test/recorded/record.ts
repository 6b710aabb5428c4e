import { fork } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SessionAct } from '@flotilla/testing/simulated-postgres';
import type { SeedRequest, WorkerAnswer } from '../../src/process/protocol.ts';
import { processOptions } from '../../src/run-sim.ts';

/** What one connection did to one database, or was answered. */
export type RecordedAct = SessionAct & { readonly database: string; readonly connection: number };

/** Lives through seeds in a process of its own; returns what was done to each database, its template's making included. */
export async function record(seeds: readonly number[]): Promise<Map<string, RecordedAct[]>> {
  const folder = await mkdtemp(join(tmpdir(), 'flotilla-recording-'));
  try {
    const file = join(folder, 'acts.jsonl');
    await runSeeds(seeds, file);
    const acts = (await readFile(file, 'utf8'))
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as RecordedAct);
    return Map.groupBy(acts, ({ database }) => database);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function runSeeds(seeds: readonly number[], file: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = fork(processOptions.program, [file], processOptions.how);
    let left = seeds.length;
    worker.on('message', (message: WorkerAnswer) => {
      if (message.type === 'ready') {
        for (const seed of seeds) worker.send({ seed, trace: false } satisfies SeedRequest);
        return;
      }
      const { seed, violations } = message.result;
      if (violations.length > 0) reject(new Error(`seed ${seed} fails: ${violations.join('; ')}`));
      if (--left === 0) worker.disconnect();
    });
    worker.on('error', reject);
    worker.on('exit', (code) => {
      if (code === 0 && left === 0) resolve();
      else reject(new Error(`The simulation ended with code ${code}, and ${left} seeds were left`));
    });
  });
}
