import type { Clock } from '@flotilla/kernel';
import type { Divergence } from './divergence.ts';
import type { BrokerView } from './broker-view.ts';
import type { Page, Surveyed } from './survey.ts';
import { Watch, type Surveying } from './watch.ts';

/** A fleet of one outbox with `size` messages, of which some diverge. */
class Fleet {
  size = 10;
  readonly diverging = new Set<number>();
  readonly views = new Set<string>();
  readonly pages: Page[] = [];
  viewsAnswer = true;
  nowMs = 0;

  readonly surveying: Surveying = {
    services: ['orders'],
    look: () => ({}) as BrokerView,
    page: async (_, _service, page) => {
      this.pages.push(page);
      return this.#page(page);
    },
    again: async (_, _service, positions) => this.#among(positions.map(Number)),
    unpublished: async () => [],
    overdue: async () => [],
    views: async (_, aggregates) => {
      if (!this.viewsAnswer) throw new Error('tracking does not run');
      return aggregates.filter((each) => this.views.has(each)).map(viewOf);
    },
  };

  watch(batch = 4): Watch {
    const clock = { monotonicMs: () => this.nowMs } as Clock;
    return new Watch(this.surveying, { graceMs: 1_000, batch, clock });
  }

  #page({ after, limit }: Page): Surveyed {
    const from = Number(after) + 1;
    const positions = Array.from({ length: Math.max(0, this.size + 1 - from) }, (_, at) => from + at).slice(
      0,
      limit,
    );
    return {
      divergences: this.#among(positions),
      looked: positions.length,
      last: positions.at(-1)?.toString(),
      more: positions.length === limit,
      shown: new Map([['tracking', new Set(positions.map((each) => `o-${each}`))]]),
    };
  }

  #among(positions: readonly number[]): Divergence[] {
    return positions.filter((each) => this.diverging.has(each)).map(lostOf);
  }
}

const lostOf = (position: number): Divergence => ({
  id: `lost orders ${position}`,
  kind: 'lost',
  service: 'orders',
  aggregate: `o-${position}`,
  what: 'it is not there',
  repair: { action: 'republish', position: String(position) },
  position: String(position),
  origin: 'orders',
});
const viewOf = (aggregate: string): Divergence => ({
  id: `view tracking order-view ${aggregate}`,
  kind: 'view',
  service: 'tracking',
  aggregate,
  what: 'it differs',
  repair: { action: 'mend' },
});

const told = async (watch: Watch): Promise<string[]> =>
  (await watch.round()).events.map(({ event, divergence }) => `${event} ${divergence.aggregate}`);

describe('a watch', () => {
  it('tells what stays for longer than the grace period, once, and when it is gone', async () => {
    const fleet = new Fleet();
    const watch = fleet.watch();
    fleet.diverging.add(3);
    expect(await told(watch)).toEqual([]);
    fleet.nowMs = 999;
    expect(await told(watch)).toEqual([]);
    fleet.nowMs = 1_000;
    expect(await told(watch)).toEqual(['diverges o-3']);
    expect(watch.open).toHaveLength(1);
    fleet.nowMs = 5_000;
    expect(await told(watch)).toEqual([]);
    fleet.diverging.clear();
    expect(await told(watch)).toEqual(['gone o-3']);
    expect(await told(watch)).toEqual([]);
    expect(watch.open).toEqual([]);
  });

  it('says nothing of what was only on its way', async () => {
    const fleet = new Fleet();
    const watch = fleet.watch();
    fleet.diverging.add(3);
    await watch.round();
    fleet.diverging.clear();
    fleet.nowMs = 2_000;
    expect(await told(watch)).toEqual([]);
    fleet.diverging.add(3);
    expect(await told(watch)).toEqual([]);
  });

  it('looks at everything once, then at what is new, and at older messages again, a bounded page each', async () => {
    const fleet = new Fleet();
    const watch = fleet.watch();
    expect((await watch.round()).complete).toBe(true);
    const first = fleet.pages.splice(0).map(({ after }) => after);
    expect(first).toEqual(['0', '4', '8', '0']);
    fleet.size = 12;
    await watch.round();
    expect(fleet.pages.splice(0).map(({ after, limit }) => [after, limit])).toEqual([
      ['10', 4],
      ['2', 2],
    ]);
    for (let round = 0; round < 4; round++) await watch.round();
    // Round and round: what was sound before may not be any more.
    expect(fleet.pages.filter(({ limit }) => limit === 2).map(({ after }) => after)).toEqual([
      '4',
      '6',
      '8',
      '10',
    ]);
    fleet.pages.length = 0;
    await watch.round();
    await watch.round();
    expect(fleet.pages.filter(({ limit }) => limit === 2).map(({ after }) => after)).toEqual(['12', '0']);
  });

  it('finds what comes apart after it was looked at', async () => {
    const fleet = new Fleet();
    const watch = fleet.watch();
    await watch.round();
    fleet.diverging.add(2);
    const seen: string[] = [];
    for (let round = 0; round < 12 && seen.length === 0; round++) {
      fleet.nowMs += 500;
      seen.push(...(await told(watch)));
    }
    expect(seen).toEqual(['diverges o-2']);
  });

  it('does not take for gone what it could not look at', async () => {
    const fleet = new Fleet();
    const watch = fleet.watch();
    fleet.views.add('o-1');
    await watch.round();
    fleet.nowMs = 1_000;
    expect(await told(watch)).toEqual(['diverges o-1']);
    fleet.viewsAnswer = false;
    const round = await watch.round();
    expect(round.events).toEqual([]);
    expect(round.problems).toEqual(['views of tracking: tracking does not run']);
    fleet.viewsAnswer = true;
    fleet.views.clear();
    expect(await told(watch)).toEqual(['gone o-1']);
  });
});
