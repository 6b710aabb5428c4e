// A process that simulates: started by run-sim.ts, with loader.mjs. With the path of a file as its argument it writes
// there what each connection does to its database, a line each.
import { openSync, writeSync } from 'node:fs';
import { Databases } from '../world/databases.ts';
import type { SeedRequest, WorkerAnswer } from './protocol.ts';

const answer = (message: WorkerAnswer): void => void process.send?.(message);

// Before anything imports pg.
const recording = process.argv[2] === undefined ? undefined : openSync(process.argv[2], 'w');
const databases = new Databases(
  recording === undefined
    ? undefined
    : (database, connection, act) =>
        void writeSync(recording, `${JSON.stringify({ database, connection, ...act })}\n`),
);
const { Logger } = await import('@nestjs/common');
const { prepareTemplates } = await import('../world/templates.ts');
const { loadServices } = await import('../world/services.ts');
const { runSeed, strayErrors } = await import('../run-seed.ts');
const { bugNamed } = await import('../bugs/bugs.ts');
const { nestLog } = await import('../world/nest-log.ts');

Logger.overrideLogger(nestLog);
const services = await loadServices();
await prepareTemplates(databases, services);

// What nobody waits for ends a process in production, and a seed here.
process.on('unhandledRejection', (error) => strayErrors.push(error));
process.on('uncaughtException', (error) => strayErrors.push(error));

// One seed at a time: it owns the clock of the process.
let queue = Promise.resolve();
process.on('message', ({ seed, trace, bug }: SeedRequest) => {
  queue = queue.then(async () => {
    const planted = bug === undefined ? undefined : bugNamed(bug);
    const result = await runSeed({ databases, services }, { seed, trace, ...(planted && { bug: planted }) });
    answer({ type: 'result', result });
  });
});
process.on('disconnect', () => process.exit(0));
answer({ type: 'ready' });
