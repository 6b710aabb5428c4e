import type { CrossingKind } from '@flotilla/messaging/simulation';
import { SeededRandom } from '@flotilla/testing/simulation';

/** What can go wrong; each a share of the occasions for it. */
export interface FaultRates {
  /** A process dies at a statement, before it is carried out. */
  readonly crashAtStatement: number;
  /** A process dies at a commit: before it is applied, or after it is and before the answer. */
  readonly crashAtCommit: number;
  /** A connection to the database breaks at a statement. */
  readonly brokenConnection: number;
  /** A connection breaks at a commit: before it is applied, or after, so that its outcome is unknown. */
  readonly brokenCommit: number;
  /** A statement takes a second or more. */
  readonly slowStatement: number;
  readonly publishLost: number;
  readonly publishAckLost: number;
  readonly deliveryLost: number;
  readonly settlementLost: number;
  readonly requestLost: number;
  readonly answerLost: number;
  /** Something is under way for seconds. */
  readonly slowCrossing: number;
  /** The broker delivers again although the consumer still works. */
  readonly impatience: number;
  /** The payment provider fails before it has done anything. */
  readonly providerRefuses: number;
  /** The payment provider does what it is asked for, and the answer does not come. */
  readonly providerForgets: number;
  /** The payment provider does what it is asked for seconds later than the caller waits. */
  readonly providerLate: number;
}

export type FaultKind = keyof FaultRates | 'crash' | 'brokerRestart' | 'streamLoss' | 'killerMessage';

/** Something that breaks at its time. */
export type TimedFault =
  | { readonly kind: 'crash'; readonly atMs: number; readonly process: number }
  | { readonly kind: 'brokerRestart'; readonly atMs: number; readonly forMs: number }
  | { readonly kind: 'streamLoss'; readonly atMs: number; readonly stream: number };

/** What goes wrong in one simulation, until `untilMs`; after that nothing does. */
export interface FaultPlan {
  readonly rates: FaultRates;
  readonly timed: readonly TimedFault[];
  readonly untilMs: number;
  /** Crashes at most: each start costs. */
  readonly mostCrashes: number;
  /** The so many-th message that comes from a stream ends each process that handles it. */
  readonly killerAt: number | undefined;
}

const NAMES: readonly (keyof FaultRates)[] = [
  'crashAtStatement',
  'crashAtCommit',
  'brokenConnection',
  'brokenCommit',
  'slowStatement',
  'publishLost',
  'publishAckLost',
  'deliveryLost',
  'settlementLost',
  'requestLost',
  'answerLost',
  'slowCrossing',
  'impatience',
  'providerRefuses',
  'providerForgets',
  'providerLate',
];

/** The highest share of each: what happens often in a life may fail seldom, what happens seldom must fail often. */
const HIGHEST: Partial<Record<keyof FaultRates, number>> = {
  crashAtStatement: 0.004,
  crashAtCommit: 0.05,
  brokenConnection: 0.01,
  brokenCommit: 0.08,
  slowStatement: 0.01,
  slowCrossing: 0.04,
  providerRefuses: 0.3,
  providerForgets: 0.3,
  providerLate: 0.3,
};
const HIGHEST_OTHERS = 0.12;

/** Draws what goes wrong: of some seeds nothing, of some one thing often, of most a few things now and then. */
export function drawFaults(seed: number): FaultPlan {
  const random = new SeededRandom(seed, 'faults');
  const mood = random.next();
  const share = mood < 0.05 ? 0 : mood < 0.3 ? 0.15 : 0.45;
  const untilMs = random.int(4_000, 14_000);
  const rates = Object.fromEntries(
    NAMES.map((name) => {
      const highest = HIGHEST[name] ?? HIGHEST_OTHERS;
      return [name, random.chance(share) ? highest * random.next() ** 2 : 0];
    }),
  ) as unknown as FaultRates;
  const timed: TimedFault[] = [];
  const sometime = (): number => random.int(100, untilMs);
  if (share > 0) {
    for (let crashes = random.pick([0, 0, 1, 1, 2]); crashes > 0; crashes--)
      timed.push({ kind: 'crash', atMs: sometime(), process: random.uint32() });
    if (random.chance(0.2))
      timed.push({ kind: 'brokerRestart', atMs: sometime(), forMs: random.int(50, 4_000) });
    if (random.chance(0.12)) {
      timed.push({ kind: 'streamLoss', atMs: sometime(), stream: random.uint32() });
    }
  }
  const mostCrashes = random.int(1, 4);
  const killerAt = share > 0 && random.chance(0.05) ? random.int(1, 12) : undefined;
  return { rates, timed, untilMs, mostCrashes, killerAt };
}

/** The rate that decides about something that crosses the network. */
export const lossOf: Readonly<Record<CrossingKind, keyof FaultRates | undefined>> = {
  publish: 'publishLost',
  'publish-ack': 'publishAckLost',
  delivery: 'deliveryLost',
  settlement: 'settlementLost',
  request: 'requestLost',
  answer: 'answerLost',
  control: undefined,
};
