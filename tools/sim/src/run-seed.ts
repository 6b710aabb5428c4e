import { runChecks } from '@flotilla/fleet/verify/checks';
import { errorMessage } from '@flotilla/kernel';
import { simulateIds } from '@flotilla/kernel/simulation';
import { simulateGlobals, type TraceLine } from '@flotilla/testing/simulation';
import type { Bug } from './bugs/bugs.ts';
import { fleetFactsOf } from './checks/fleet-facts.ts';
import { checkInvariants } from './checks/invariants.ts';
import { drawFaults } from './faults.ts';
import { drawScenario } from './scenario.ts';
import type { Row } from './world/rows.ts';
import type { Databases } from './world/databases.ts';
import type { SimulatedService } from './world/services.ts';
import { World } from './world/world.ts';

export interface SeedOptions {
  readonly seed: number;
  /** Keeps what happened, to be read. */
  readonly trace: boolean;
  /** A planted bug, that the run is expected to find. */
  readonly bug?: Bug;
}

/** What one seed came to. */
export interface SeedResult {
  readonly seed: number;
  /** What was not as it must be, a sentence each; none: the seed passes. */
  readonly violations: readonly string[];
  /** Two runs of one seed have the same. */
  readonly hash: string;
  readonly events: number;
  readonly simulatedMs: number;
  readonly orders: number;
  readonly returns: number;
  /** How orders and returns ended, with how many of each. */
  readonly endings: Readonly<Record<string, number>>;
  readonly faults: Readonly<Record<string, number>>;
  readonly trace: readonly TraceLine[];
}

/** What every seed of a process needs. */
export interface Stage {
  readonly databases: Databases;
  readonly services: readonly SimulatedService[];
}

/** Errors that nobody caught since the seed began. */
export const strayErrors: unknown[] = [];

/** Lives through one seed. */
export async function runSeed({ databases, services }: Stage, options: SeedOptions): Promise<SeedResult> {
  const { seed, trace, bug } = options;
  const world = new World({
    seed,
    trace,
    scenario: drawScenario(seed),
    faults: drawFaults(seed),
    databases,
    services,
    tampering: bug ? [bug.plant] : [],
  });
  const { simulation } = world;
  const violations: string[] = [];
  strayErrors.length = 0;
  let endings: Record<string, number> = {};
  const undo = await bug?.plant.everywhere?.();
  simulateGlobals(simulation);
  simulateIds((bytes) => world.fillIds(bytes));
  try {
    await world.live((end) => {
      endings = endingsOf(world);
      violations.push(...judge(world, end.waiting));
    });
  } catch (error) {
    violations.push(`the simulation itself failed: ${errorMessage(error)}${stackOf(error)}`);
  } finally {
    simulateIds();
    simulateGlobals(undefined);
    undo?.();
  }
  return {
    seed,
    violations,
    hash: simulation.trace.hash,
    events: simulation.events,
    simulatedMs: simulation.elapsedMs,
    orders: world.customers.placed.length,
    returns: world.customers.returned.length,
    endings,
    faults: world.faults.injected,
    trace: simulation.trace.lines,
  };
}

/** What is wrong with the world at its end. */
function judge(world: World, waiting: readonly string[]): string[] {
  const rows = (service: string, table: string) => world.rows(service, table);
  const { placed, returned, cancelled, complaints } = world.customers;
  const unfinished = waiting.map((what) => `something waits for ever: ${what}`);
  const books = runChecks(fleetFactsOf(rows, world.jetstream))
    // What is still under way says so itself; the books do not close before.
    .filter(({ ok, underWay }) => !ok && !(underWay && waiting.length > 0))
    .flatMap(({ name, differences }) => differences.map((difference) => `${name}: ${difference}`));
  return [
    ...unfinished,
    ...complaints,
    ...world.killer.complaints,
    ...strayErrors.map((error) => `nobody caught ${errorMessage(error)}${stackOf(error)}`),
    ...books,
    ...checkInvariants({
      rows,
      streamed: streamedEvents(world),
      now: world.simulation.now(),
      placed,
      returned,
      cancelled,
    }),
  ];
}

function streamedEvents(world: World): Row[] {
  return world.jetstream.messages('EVT_orders').map(({ subject, headers, body }) => ({
    subject,
    headers,
    key: headers['ce-subject'] ?? '',
    body: Buffer.from(body).toString(),
  }));
}

function endingsOf(world: World): Record<string, number> {
  const endings: Record<string, number> = {};
  const count = (what: string): void => void (endings[what] = (endings[what] ?? 0) + 1);
  for (const row of world.rows('orders', 'orders')) {
    const reason = row['rejection_reason'];
    count(`order ${row['status'] as string}${typeof reason === 'string' ? `: ${reason}` : ''}`);
  }
  for (const row of world.rows('orders', 'order_returns')) count(`return ${row['status'] as string}`);
  return endings;
}

function stackOf(error: unknown): string {
  return error instanceof Error && error.stack !== undefined ? `\n${error.stack}` : '';
}
