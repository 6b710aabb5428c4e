import type { Reading, World, WorldKind } from '../world.ts';
import { waitFor } from '../wait.ts';

/** Draws from the run's seed. */
export interface Draw {
  /** From 0 (inclusive) to 1 (exclusive). */
  number(): number;
  of<T>(items: readonly T[]): T;
  between(least: number, most: number): number;
}

/** A fault that is in force. */
export interface Injection {
  /** What was done, with its numbers: "payments (pid 12) was killed". */
  readonly done: string;
  /** The services whose work it disturbs; sagas that wait for them are hit. */
  readonly touches: readonly string[] | 'all';
  /** How often it was injected, where one injection is many. Default 1. */
  readonly times?: number;
  /** How long it stays in force before it is healed, in milliseconds. Default 0. */
  readonly lastsMs?: number;
  /** Looks from outside whether the fleet says something true of it. Returns what it said; throws when it does not. */
  observe?(): Promise<string>;
  /** Ends the fault: what an operator or the world would do. From its end on time to recover counts. */
  heal?(): Promise<void>;
  /** Puts the fleet back to what it was, once it has recovered. */
  tidy?(): Promise<void>;
}

/** One kind of fault. */
export interface Fault {
  /** As it is named on the command line. */
  readonly name: string;
  readonly what: string;
  /** What must hold, beside that nothing is lost and nothing happens twice. */
  readonly holds: string;
  /** Where an operator sees it. */
  readonly seen: string;
  readonly needs: WorldKind;
  /** Throws {@link FaultNotInjectedError} when it could not be done. */
  inject(world: World, draw: Draw): Promise<Injection>;
}

/** Services with a database: those that commit. */
export const COMMITTING = [
  'orders',
  'inventory',
  'payments',
  'shipping',
  'tracking',
  'notifications',
] as const;

const SEEN_WITHIN_MS = 40_000;

/** Waits until the readings of all processes are as the fault should make them; what those concerned said. */
export async function seenAs(
  world: World,
  describe: string,
  concerned: (reading: Reading) => boolean,
  expected: (reading: Reading) => boolean,
): Promise<string> {
  const readings = await waitFor(
    async () => {
      const found = (await world.read()).filter(concerned);
      return found.length > 0 && found.every(expected) && found;
    },
    { timeoutMs: SEEN_WITHIN_MS, describe },
  );
  const first = readings[0];
  const others = readings.length > 1 ? ` and ${readings.length - 1} more` : '';
  return `${first?.name ?? ''}${others}: ${first?.health ?? ''}${first?.why ? `, ${first.why}` : ''}`;
}
