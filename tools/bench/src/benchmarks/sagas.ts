import { peerMain, type BenchProcess } from '../bench-process.ts';
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
import { perSecondOf, windowOf, type LoadResult } from '../load.ts';
import { readStatements, resetStatements } from '../pg-stat.ts';
import { installPeer, peerVersions } from '../peers/install-peers.ts';
import type { Watched } from '../proc.ts';
import { per, Rows } from '../result.ts';
import { query, type BenchStack, type Fixture } from '../stack.ts';
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

/** Who runs sagas. */
interface Contestant {
  readonly name: string;
  /** The process that starts them. */
  readonly driver: BenchProcess;
  readonly watched: readonly Watched[];
  /** Throws when not exactly so many have left their rows. */
  readonly verify: (sagas: number) => Promise<void>;
  done: number;
}

async function measure(context: BenchContext, stack: BenchStack): Promise<Measured> {
  const { options, note } = context;
  const [ownerProcess, participantProcess] = [await stack.run(owner), await stack.run(participant)];
  const dbos = await startDbos(context, stack);
  const contestants: Contestant[] = [
    {
      name: 'flotilla',
      driver: ownerProcess,
      watched: [ownerProcess, participantProcess],
      verify: (sagas) => verify(stack, sagas),
      done: 0,
    },
    ...(dbos.contestant === undefined ? [] : [dbos.contestant]),
  ];
  const runSagas = async (contestant: Contestant, inFlight: number, seconds: number): Promise<LoadResult> => {
    const argument: RunSagas = { inFlight, ...windowOf(seconds) };
    const load = await contestant.driver.call<LoadResult>(
      'runSagas',
      argument,
      argument.windowMs + PATIENCE_MS,
    );
    assertAllSucceeded('c', load);
    contestant.done += load.started;
    return load;
  };
  const levels = options.inFlight ?? [1, 8, 32, 128];
  const rows = new Rows();
  if (options.warmupSeconds > 0) {
    for (const contestant of contestants) {
      for (const inFlight of levels) await runSagas(contestant, inFlight, options.warmupSeconds);
    }
  }
  if (options.pgStat) await resetStatements(stack.postgres.adminUrl);
  for (let run = 1; run <= options.runs; run += 1) {
    for (const inFlight of levels) {
      for (const contestant of contestants) {
        note(`c: ${contestant.name}, ${inFlight} sagas in flight, run ${run} of ${options.runs}`);
        const { result: load, cpuMs } = await withCpu(
          [...contestant.watched, ...stack.servers],
          () => runSagas(contestant, inFlight, options.seconds),
          { byChild: options.pgStat },
        );
        const { medianMs, p99Ms } = latenciesOf(load.latenciesMs);
        rows.add(
          { ...(contestants.length > 1 && { who: contestant.name }), 'in flight': inFlight },
          {
            figures: {
              'sagas/s': perSecondOf(load),
              'median ms': medianMs,
              'p99 ms': p99Ms,
            },
            cpuMs: per(load.started, cpuMs),
          },
        );
      }
    }
  }
  const statements = options.pgStat ? await readStatements(stack.postgres.adminUrl) : undefined;
  for (const contestant of contestants) await contestant.verify(contestant.done);
  return {
    operation: 'saga',
    settings: { steps: STEPS, services: 2, databases: 2 },
    rows: rows.finish(),
    counts: Object.fromEntries(
      contestants.flatMap(({ name, done }) => [
        [`${name}: sagas completed`, done],
        [`${name}: rows, each once`, done * STEPS],
      ]),
    ),
    notes: [
      'The load generator runs in the process "owner" and starts sagas in units of work.',
      ...dbos.notes,
    ],
    ...(statements !== undefined && { statements }),
  };
}

/** The same work done by DBOS, in one process, on the same Postgres. */
async function startDbos(
  { options, note }: BenchContext,
  stack: BenchStack,
): Promise<{ readonly contestant?: Contestant; readonly notes: readonly string[] }> {
  if (!options.peers) return { notes: [] };
  const installed = await installPeer('dbos', note);
  if ('problem' in installed) return { notes: [installed.problem] };
  const appUrl = await stack.database('dbos-app');
  const driver = await stack.runMain('dbos', peerMain('dbos'), {
    PEER_FOLDER: installed.folder,
    APP_DATABASE_URL: appUrl,
    SYSTEM_DATABASE_URL: await stack.database('dbos-system'),
  });
  const count = async (expected: number): Promise<void> => {
    const [entries] = await query<{ all: string; different: string }>(
      appUrl,
      'SELECT count(*) AS all, count(DISTINCT (transfer_id, step)) AS different FROM entries',
    );
    assertCount('c', 'rows of dbos', Number(entries?.all), expected * STEPS);
    assertCount('c', 'different rows of dbos', Number(entries?.different), expected * STEPS);
  };
  return {
    contestant: { name: 'dbos', driver, watched: [driver], verify: count, done: 0 },
    notes: [
      `dbos: a workflow of ${peerVersions('dbos')} with four steps (DBOS.runStep) in one process; a step's row and its checkpoint are two commits, so a crash between them repeats the step.`,
    ],
  };
}

/** Every saga is completed, and each of its steps has acted exactly once. */
async function verify(stack: BenchStack, sagas: number): Promise<void> {
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
}
