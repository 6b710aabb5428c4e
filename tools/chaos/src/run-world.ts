import { setTimeout as delay } from 'node:timers/promises';
import { errorMessage, FlotillaError, formatDurationMs, systemClock } from '@flotilla/kernel';
import { DeadLetters } from '@flotilla/messaging';
import { verifyFleet } from '@flotilla/fleet/verify/verify';
import { FaultNotInjectedError } from './chaos.errors.ts';
import { check } from './checker/check.ts';
import type { CheckReport } from './checker/report.ts';
import type { Draw, Fault } from './faults/fault.ts';
import type { Load } from './load/load.ts';
import { sequence } from './plan.ts';
import type { InjectedFault, WorldReport } from './report.ts';
import { waitFor } from './wait.ts';
import type { World } from './world.ts';

export interface RunWorldOptions {
  readonly world: World;
  readonly load: Load;
  readonly kinds: readonly Fault[];
  readonly draw: Draw;
  /** How long faults are injected. Every kind is injected once even if that takes longer, up to twice the time. */
  readonly forMs: number;
  readonly perSecond: number;
  readonly note: (text: string) => void;
  readonly signal: AbortSignal;
}

export interface RanWorld {
  readonly report: WorldReport;
  readonly notInjected: Readonly<Record<string, string>>;
}

const WARM_UP_MS = 4_000;
const CALM_MS = 1_500;
const RECOVER_TIMEOUT_MS = 150_000;
const SETTLE_TIMEOUT_MS = 240_000;
const VERIFY_TIMEOUT_MS = 120_000;
/** Orders that are open at a time when nothing is wrong: those of so many seconds. */
const OPEN_SECONDS = 3;

/** The safety phase, faults under load, and the liveness phase after it: everything has to end, and add up. */
export async function runWorld(options: RunWorldOptions): Promise<RanWorld> {
  const { load, kinds, draw, forMs, note, signal } = options;
  const injected: InjectedFault[] = [];
  const notInjected: Record<string, string> = {};
  load.start();
  await delay(WARM_UP_MS, undefined, { signal });
  const startMs = systemClock.monotonicMs();
  for (const { fault, round } of sequence(kinds, draw)) {
    const pastMs = systemClock.monotonicMs() - startMs;
    if (pastMs > forMs * 2 || (pastMs > forMs && round > 1)) break;
    signal.throwIfAborted();
    try {
      const result = await runFault(options, fault);
      injected.push(result);
      delete notInjected[fault.name];
      if (result.recoveryMs === undefined) break;
    } catch (error) {
      if (!(error instanceof FaultNotInjectedError)) throw error;
      note(`${fault.name}: ${error.message}`);
      if (!injected.some(({ name }) => name === fault.name)) notInjected[fault.name] = error.message;
      if (round > 1 && kinds.length === 1) break;
    }
    await delay(CALM_MS, undefined, { signal });
  }
  for (const { name } of kinds) {
    if (!injected.some((each) => each.name === name)) notInjected[name] ??= 'the time was over';
  }
  return { report: await settle(options, injected), notInjected };
}

async function runFault(
  { world, load, draw, perSecond, note, signal }: RunWorldOptions,
  fault: Fault,
): Promise<InjectedFault> {
  note(`${fault.name}: ${fault.what}`);
  const failures: string[] = [];
  const before = load.sent.length;
  const live = await world.liveSagas();
  const injection = await fault.inject(world, draw);
  const liveSagas = Math.max(
    hitsOf(injection.touches, live),
    hitsOf(injection.touches, await world.liveSagas()),
  );
  note(`${fault.name}: ${injection.done}; ${liveSagas} live sagas`);
  const [, observed] = await Promise.allSettled([
    delay(injection.lastsMs ?? 0, undefined, { signal }),
    injection.observe?.() ?? Promise.resolve(undefined),
  ]);
  if (observed.status === 'rejected') failures.push(`not seen: ${errorMessage(observed.reason)}`);
  const seen = observed.status === 'fulfilled' ? observed.value : undefined;
  if (seen !== undefined) note(`${fault.name}: seen: ${seen}`);
  await injection.heal?.();
  const healedMs = systemClock.monotonicMs();
  let recoveryMs: number | undefined;
  try {
    await untilRecovered(world, load, healedMs, perSecond, signal);
    recoveryMs = systemClock.monotonicMs() - healedMs;
    note(`${fault.name}: recovered ${formatDurationMs(recoveryMs)} after its end`);
  } catch (error) {
    if (signal.aborted) throw error;
    failures.push(errorMessage(error));
  }
  await injection.tidy?.();
  for (const failure of failures) note(`${fault.name}: FAILED: ${failure}`);
  return {
    name: fault.name,
    done: injection.done,
    times: injection.times ?? 1,
    liveSagas,
    orders: load.sent.length - before,
    recoveryMs,
    seen,
    failures,
  };
}

/** All orders sent before have ended, no more are open than usual, and every process is ready. */
async function untilRecovered(
  world: World,
  load: Load,
  healedMs: number,
  perSecond: number,
  signal: AbortSignal,
): Promise<void> {
  const usual = Math.max(10, perSecond * OPEN_SECONDS);
  await waitFor(() => load.openOf(healedMs).length === 0 && load.open <= usual, {
    timeoutMs: RECOVER_TIMEOUT_MS,
    everyMs: 50,
    describe: `orders have not recovered: ${describeOpen(load)}`,
    signal,
  }).catch((error: unknown) => {
    if (signal.aborted || !(error instanceof FlotillaError)) throw error;
    throw new FlotillaError('CHAOS_NOT_RECOVERED', `not recovered: ${describeOpen(load, healedMs)}`, {
      cause: error,
    });
  });
  await world.untilReady();
}

function describeOpen(load: Load, beforeMs = Infinity): string {
  const open = load.openOf(beforeMs);
  const some = open
    .slice(0, 5)
    .map(({ orderId, key, status }) => `${orderId ?? key} ${status ?? 'not accepted'}`);
  return `${open.length} orders are open (${some.join(', ')})`;
}

/** No more faults, no more orders: everything has to end now, and every database, stream and book has to agree. */
async function settle(
  { world, load, note, signal }: RunWorldOptions,
  faults: readonly InjectedFault[],
): Promise<WorldReport> {
  load.stop();
  const failures: string[] = [];
  const stoppedMs = systemClock.monotonicMs();
  note(`No more orders; ${load.open} of ${load.sent.length} are open`);
  try {
    await waitFor(() => load.open === 0, {
      timeoutMs: SETTLE_TIMEOUT_MS,
      describe: 'all orders have ended',
      signal,
    });
  } catch (error) {
    if (signal.aborted) throw error;
    failures.push(`not all orders have ended: ${describeOpen(load)}`);
  }
  const settledMs = systemClock.monotonicMs() - stoppedMs;
  failures.push(...load.refused.map((text) => `refused: ${text}`));
  note('Checking');
  const checked = await checkFrom(world, load);
  failures.push(...(await unexplainedLetters(world)));
  note('Verifying');
  const connection = await world.nats();
  const { checks } = await verifyFleet(world.fleet.stack.databases, connection, VERIFY_TIMEOUT_MS, note);
  const byStatus: Record<string, number> = {};
  for (const { status = 'unknown' } of load.accepted) byStatus[status] = (byStatus[status] ?? 0) + 1;
  return {
    kind: world.kind,
    faults,
    orders: {
      sent: load.sent.length,
      accepted: load.accepted.length,
      byStatus,
      cancelsAccepted: load.cancelsAccepted,
      returnsAccepted: load.returnsAccepted,
      requestsRepeated: load.repeated,
    },
    lost: Math.max(checked.lost, load.accepted.filter(({ endedMs }) => endedMs === undefined).length),
    duplicated: checked.duplicated + (await duplicatedOf(world, load)),
    poison: world.poison.length,
    settledMs,
    checks: [
      ...checked.checks.map(({ name, ok, counted, violations }) => ({
        name,
        ok,
        counted,
        differences: violations.map(({ about, what }) => `${about}: ${what}`),
      })),
      ...checks.map(({ name, ok, differences }) => ({ name: `fleet verify: ${name}`, ok, differences })),
    ],
    failures,
  };
}

/** What the checker, which shares no code with the fleet, says of everything that there is. */
async function checkFrom(world: World, load: Load): Promise<CheckReport> {
  const { nats, migrators } = world.fleet.stack;
  return check({
    natsUrl: nats.url,
    natsCredentials: world.natsCredentials,
    databases: Object.fromEntries(Object.entries(migrators).map(([service, { url }]) => [service, url])),
    expected: {
      orders: load.accepted.map(({ orderId = '', key, order }) => ({
        orderId,
        idempotencyKey: key,
        customerId: order.customerId,
        lines: order.lines.map(({ sku, quantity }) => ({ sku, quantity })),
      })),
      poison: world.poison.map(({ stream, sequence }) => ({ id: `${stream}:${sequence}` })),
    },
  });
}

/** Dead letters that are no poison, and poison that is no dead letter. Those that are explained are removed. */
async function unexplainedLetters(world: World): Promise<string[]> {
  const deadLetters = new DeadLetters(await world.nats());
  const letters = await deadLetters.list({ limit: 10_000 });
  const found = new Set<number>();
  const failures: string[] = [];
  for (const letter of letters) {
    const index = world.poison.findIndex(
      ({ stream, sequence }) => stream === letter.originalStream && sequence === letter.originalSequence,
    );
    if (index < 0) {
      failures.push(
        `a dead letter that is no poison: ${letter.type ?? 'unknown type'} of ${letter.subject ?? ''} in ` +
          `${letter.service}/${letter.consumer}: ${letter.errorCode} ${letter.errorMessage}`,
      );
      continue;
    }
    found.add(index);
    await deadLetters.drop(letter.sequence, 'poison of the chaos run');
  }
  for (const [index, { kind }] of world.poison.entries()) {
    if (!found.has(index)) failures.push(`a poisonous message is no dead letter: ${kind}`);
  }
  return failures;
}

/** Orders that are there beyond those that were asked for. Money, goods and mails are compared by the checks. */
async function duplicatedOf(world: World, load: Load): Promise<number> {
  const [row] = await world.query<{ count: string }>('SELECT count(*) FROM orders');
  const asked = new Set(load.sent.map(({ key }) => key)).size;
  return Math.max(0, Number(row?.count ?? 0) - asked);
}

/** The live sagas that wait for what a fault disturbs. */
function hitsOf(touches: readonly string[] | 'all', live: ReadonlyMap<string, number>): number {
  return [...live]
    .filter(
      ([service]) =>
        // The saga itself lives in orders.
        touches === 'all' || touches.includes('orders') || touches.includes(service),
    )
    .reduce((sum, [, count]) => sum + count, 0);
}
