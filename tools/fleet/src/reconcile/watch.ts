import { errorMessage, type Clock } from '@flotilla/kernel';
import type { Divergence } from './divergence.ts';
import type { BrokerView } from './broker-view.ts';
import type { Survey, Surveyed } from './survey.ts';

export interface WatchOptions {
  /** How long a divergence may be that is only something on its way, in milliseconds. */
  readonly graceMs: number;
  /** Messages of each outbox that a round looks at: new ones, and older ones once more. */
  readonly batch?: number;
  readonly clock: Clock;
}

/** What a round tells of. */
export type WatchEvent =
  | { readonly event: 'diverges'; readonly divergence: Divergence; readonly sinceMs: number }
  | { readonly event: 'gone'; readonly divergence: Divergence; readonly sinceMs: number };

export interface Round {
  readonly events: readonly WatchEvent[];
  /** Messages that were looked at. */
  readonly looked: number;
  /** Divergences that have been told and are not gone. */
  readonly open: number;
  /** Seen, and not for long enough to be told. */
  readonly young: number;
  /** Whether everything that the outboxes have has been looked at once. */
  readonly complete: boolean;
  /** Services whose part could not be looked at, and why. */
  readonly problems: readonly string[];
}

interface Seen {
  readonly divergence: Divergence;
  readonly sinceMs: number;
  told: boolean;
}

/** So many are remembered; of more, those that come later are found when there is room. */
const MAX_SEEN = 10_000;
/** Positions are given before the commit: what is older than this is there, or never will be. */
const LAG_MS = 5_000;
const AGAIN_AT_ONCE = 500;
/** How long a round goes on reading while not everything has been looked at once. */
const FIRST_PASS_MS = 2_000;

/** What a watch needs of a survey. */
export type Surveying = Pick<
  Survey,
  'services' | 'look' | 'page' | 'again' | 'unpublished' | 'overdue' | 'views'
>;

/**
 * Goes through the outboxes for ever, new messages first, a bounded number each round, and remembers what diverges until
 * it is gone. What is looked at for the first time may be on its way: it is told when it stays.
 */
export class Watch {
  readonly #survey: Surveying;
  readonly #options: Required<WatchOptions>;
  readonly #seen = new Map<string, Seen>();
  /** Up to where the new messages of each outbox were looked at, and the old ones once more. */
  readonly #heads = new Map<string, string>();
  readonly #patrols = new Map<string, string>();
  readonly #caughtUp = new Set<string>();

  constructor(survey: Surveying, options: WatchOptions) {
    this.#survey = survey;
    this.#options = { batch: 500, ...options };
  }

  async round(): Promise<Round> {
    const { clock, graceMs, batch } = this.#options;
    const survey = this.#survey;
    const broker = survey.look();
    const lagMs = Math.min(LAG_MS, graceMs);
    const now = new Map<string, Divergence>();
    const keep = (found: readonly Divergence[]): void => found.forEach((each) => now.set(each.id, each));
    const problems: string[] = [];
    /** Of what could not be looked at, nothing is known: it stays as it was. */
    const unknown = new Set<string>();
    const shown = new Map<string, Set<string>>();
    let looked = 0;
    const take = (page: Surveyed): void => {
      looked += page.looked;
      keep(page.divergences);
      for (const [service, aggregates] of page.shown)
        shown.set(service, new Set([...(shown.get(service) ?? []), ...aggregates]));
    };
    for (const service of survey.services) {
      try {
        await this.#head(broker, service, lagMs, take);
        if (this.#caughtUp.has(service)) await this.#patrol(broker, service, lagMs, take);
        keep(await survey.unpublished(service, lagMs, batch));
        keep(await survey.overdue(service, graceMs));
        for (const some of this.#openMessages(service, now)) keep(await survey.again(broker, service, some));
      } catch (error) {
        problems.push(`${service}: ${errorMessage(error)}`);
        unknown.add(service);
      }
    }
    for (const service of new Set([...shown.keys(), ...this.#openViewServices()])) {
      try {
        const aggregates = new Set([...(shown.get(service) ?? []), ...this.#openViews(service)]);
        keep(await survey.views(service, [...aggregates]));
      } catch (error) {
        problems.push(`views of ${service}: ${errorMessage(error)}`);
        unknown.add(viewsOf(service));
      }
    }
    const events = this.#remember(now, unknown, clock.monotonicMs());
    const seen = [...this.#seen.values()];
    return {
      events,
      looked,
      open: seen.filter(({ told }) => told).length,
      young: seen.filter(({ told }) => !told).length,
      complete: survey.services.every((service) => this.#caughtUp.has(service)),
      problems,
    };
  }

  /** The divergences that are told of and not gone. */
  get open(): readonly Divergence[] {
    return [...this.#seen.values()].filter(({ told }) => told).map(({ divergence }) => divergence);
  }

  /** New messages; until all has been looked at once, as many as fit into the time of a round. */
  async #head(
    broker: BrokerView,
    service: string,
    olderThanMs: number,
    take: (page: Surveyed) => void,
  ): Promise<void> {
    const { clock, batch } = this.#options;
    const untilMs = clock.monotonicMs() + FIRST_PASS_MS;
    for (;;) {
      const after = this.#heads.get(service) ?? '0';
      const page = await this.#survey.page(broker, service, { after, limit: batch, olderThanMs });
      take(page);
      if (page.last !== undefined) this.#heads.set(service, page.last);
      if (!page.more) this.#caughtUp.add(service);
      if (this.#caughtUp.has(service) || clock.monotonicMs() >= untilMs) return;
    }
  }

  /** What was looked at before, once more: a stream or a view may lose it later. */
  async #patrol(
    broker: BrokerView,
    service: string,
    olderThanMs: number,
    take: (page: Surveyed) => void,
  ): Promise<void> {
    const after = this.#patrols.get(service) ?? '0';
    const limit = Math.ceil(this.#options.batch / 2);
    const page = await this.#survey.page(broker, service, { after, limit, olderThanMs });
    take(page);
    this.#patrols.set(service, page.more && page.last !== undefined ? page.last : '0');
  }

  /** Positions that were found diverging and were not met in this round. */
  *#openMessages(service: string, now: ReadonlyMap<string, Divergence>): Generator<string[]> {
    const positions = new Set<string>();
    for (const [id, { divergence }] of this.#seen) {
      if (divergence.origin === service && divergence.position !== undefined && !now.has(id))
        positions.add(divergence.position);
    }
    yield* chunks([...positions], AGAIN_AT_ONCE);
  }

  #openViews(service: string): Set<string> {
    const open = [...this.#seen.values()].filter(
      ({ divergence }) => divergence.kind === 'view' && divergence.service === service,
    );
    return new Set(open.map(({ divergence }) => divergence.aggregate));
  }

  #openViewServices(): string[] {
    const open = [...this.#seen.values()].filter(({ divergence }) => divergence.kind === 'view');
    return open.map(({ divergence }) => divergence.service);
  }

  #remember(now: ReadonlyMap<string, Divergence>, unknown: ReadonlySet<string>, nowMs: number): WatchEvent[] {
    const events: WatchEvent[] = [];
    for (const [id, divergence] of now) {
      const before = this.#seen.get(id);
      if (before === undefined) {
        if (this.#seen.size < MAX_SEEN) this.#seen.set(id, { divergence, sinceMs: nowMs, told: false });
        continue;
      }
      const seen = { ...before, divergence };
      this.#seen.set(id, seen);
      if (seen.told || nowMs - seen.sinceMs < this.#options.graceMs) continue;
      seen.told = true;
      events.push({ event: 'diverges', divergence, sinceMs: nowMs - seen.sinceMs });
    }
    for (const [id, { divergence, sinceMs, told }] of this.#seen) {
      if (now.has(id) || unknown.has(sourceOf(divergence))) continue;
      this.#seen.delete(id);
      if (told) events.push({ event: 'gone', divergence, sinceMs: nowMs - sinceMs });
    }
    return events;
  }
}

const viewsOf = (service: string): string => `views of ${service}`;

/** What has to be looked at to know whether it is gone. */
function sourceOf({ kind, service, origin }: Divergence): string {
  return kind === 'view' ? viewsOf(service) : (origin ?? service);
}

function* chunks<T>(items: readonly T[], size: number): Generator<T[]> {
  for (let from = 0; from < items.length; from += size) yield items.slice(from, from + size);
}
