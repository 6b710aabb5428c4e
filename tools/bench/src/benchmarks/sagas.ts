import {
  assertAllSucceeded,
  assertCount,
  PATIENCE_MS,
  withCpu,
  withStack,
  type BenchContext,
  type Measured,
} from '../context.ts';
import type { RunSagas } from '../fixtures/owner/owner.module.ts';
import { ownerService } from '../fixtures/owner/owner.service.ts';
import { participantMigrations } from '../fixtures/participant/migrations.ts';
import { participantService } from '../fixtures/participant/participant.service.ts';
import { windowOf, type LoadResult } from '../load.ts';
import { readStatements, resetStatements } from '../pg-stat.ts';
import { per, Rows } from '../result.ts';
import type { BenchStack, Fixture } from '../stack.ts';
import { latenciesOf } from '../statistics.ts';

const owner: Fixture = { name: 'owner', manifest: ownerService };
const participant: Fixture = {
  name: 'participant',
  manifest: participantService,
  migrations: participantMigrations,
};

const STEPS = 4;

/** (c) Sagas of four steps, each inserting a row at another service with a database of its own. */
export async function benchSagas(context: BenchContext): Promise<Measured> {
  return withStack(context, 'c', [owner, participant], (stack) => measure(context, stack));
}

async function measure({ options, note }: BenchContext, stack: BenchStack): Promise<Measured> {
  const [ownerProcess, participantProcess] = [await stack.run(owner), await stack.run(participant)];
  const watched = [ownerProcess, participantProcess, ...stack.servers];
  const runSagas = async (inFlight: number, seconds: number): Promise<LoadResult> => {
    const argument: RunSagas = { inFlight, ...windowOf(seconds) };
    const load = await ownerProcess.call<LoadResult>('runSagas', argument, argument.windowMs + PATIENCE_MS);
    assertAllSucceeded('c', load);
    sagas += load.started;
    return load;
  };
  const levels = options.inFlight ?? [1, 8, 32, 128];
  const rows = new Rows();
  let sagas = 0;
  for (const inFlight of levels) {
    if (options.warmupSeconds > 0) await runSagas(inFlight, options.warmupSeconds);
  }
  if (options.pgStat) await resetStatements(stack.postgres.adminUrl);
  for (let run = 1; run <= options.runs; run += 1) {
    for (const inFlight of levels) {
      note(`c: ${inFlight} sagas in flight, run ${run} of ${options.runs}`);
      const { result: load, cpuMs } = await withCpu(watched, () => runSagas(inFlight, options.seconds), {
        byChild: options.pgStat,
      });
      const { medianMs, p99Ms } = latenciesOf(load.latenciesMs);
      rows.add(
        { 'in flight': inFlight },
        {
          figures: {
            'sagas/s': load.succeededInWindow / (load.windowMs / 1_000),
            'median ms': medianMs,
            'p99 ms': p99Ms,
          },
          cpuMs: per(load.started, cpuMs),
        },
      );
    }
  }
  const statements = options.pgStat ? await readStatements(stack.postgres.adminUrl) : undefined;
  const counts = await verify(stack, sagas);
  return {
    operation: 'saga',
    settings: { steps: STEPS, services: 2, databases: 2 },
    rows: rows.finish(),
    counts,
    notes: ['The load generator runs in the process "owner" and starts sagas in units of work.'],
    ...(statements !== undefined && { statements }),
  };
}

/** Every saga is completed, and each of its steps has acted exactly once. */
async function verify(stack: BenchStack, sagas: number): Promise<Record<string, number>> {
  const [instances] = await stack.sql<{ all: string; completed: string }>(
    owner,
    `SELECT count(*) AS all, count(*) FILTER (WHERE status = 'completed') AS completed FROM saga_instances`,
  );
  assertCount('c', 'sagas', Number(instances?.all), sagas);
  assertCount('c', 'completed sagas', Number(instances?.completed), sagas);
  const [entries] = await stack.sql<{ all: string; different: string }>(
    participant,
    'SELECT count(*) AS all, count(DISTINCT (transfer_id, step)) AS different FROM entries',
  );
  assertCount('c', 'rows', Number(entries?.all), sagas * STEPS);
  assertCount('c', 'different rows', Number(entries?.different), sagas * STEPS);
  return { 'sagas completed': sagas, 'rows, each once': sagas * STEPS };
}
