import type { Clock } from '@flotilla/kernel';
import type { Divergence, RepairStep } from './divergence.ts';
import type { Survey, Surveyed } from './survey.ts';

/** What a service is asked to repair. */
export interface RepairRequest {
  readonly service: string;
  /** For the sentence about it. */
  readonly about: string;
  readonly body: Readonly<Record<string, unknown>>;
  readonly divergences: readonly Divergence[];
}

/** What became of one thing, as its service tells. */
export interface Repaired {
  readonly about: string;
  readonly target: string;
  readonly outcome: 'repaired' | 'nothing to do' | 'refused';
  readonly detail: string;
}

const PAGE = 1_000;
/** Messages and aggregates in one request. */
const MESSAGES_AT_ONCE = 500;
const AGGREGATES_AT_ONCE = 20;

/**
 * Everything that diverges and stays so for `graceMs`; of one aggregate, or of all. `onProgress` is told how many
 * messages were compared.
 */
export async function findDivergences(
  survey: Survey,
  options: {
    readonly aggregate: string | undefined;
    readonly graceMs: number;
    readonly clock: Clock;
    readonly onProgress: (text: string) => void;
  },
): Promise<readonly Divergence[]> {
  const { aggregate, graceMs, clock, onProgress } = options;
  const first = await lookAtAll(survey, aggregate, onProgress);
  if (first.length === 0) return [];
  onProgress(`${first.length} found; looking again in ${graceMs} ms`);
  await clock.sleep(graceMs);
  const still = new Set((await lookAgain(survey, first, aggregate)).map(({ id }) => id));
  return first.filter(({ id }) => still.has(id));
}

async function lookAtAll(
  survey: Survey,
  aggregate: string | undefined,
  onProgress: (text: string) => void,
): Promise<Divergence[]> {
  const found = new Map<string, Divergence>();
  const keep = (divergences: readonly Divergence[]): void =>
    divergences.forEach((each) => found.set(each.id, each));
  let looked = 0;
  for (const service of survey.services) {
    let page: Surveyed | undefined;
    do {
      page = await survey.page(survey.look(), service, {
        after: page?.last ?? '0',
        limit: PAGE,
        olderThanMs: 0,
        aggregate,
      });
      keep(page.divergences);
      for (const [viewer, aggregates] of page.shown) keep(await survey.views(viewer, [...aggregates]));
      looked += page.looked;
      onProgress(`${looked} messages compared, ${found.size} divergences`);
    } while (page.more);
    keep(await survey.overdue(service, 0, aggregate));
  }
  return [...found.values()];
}

async function lookAgain(
  survey: Survey,
  found: readonly Divergence[],
  aggregate: string | undefined,
): Promise<Divergence[]> {
  const again: Divergence[] = [];
  const broker = survey.look();
  const messages = found.filter(({ position }) => position !== undefined);
  for (const [origin, some] of Map.groupBy(messages, (each) => each.origin ?? each.service)) {
    for (const positions of chunksOf(
      [...new Set(some.map(({ position }) => position ?? ''))],
      MESSAGES_AT_ONCE,
    ))
      again.push(...(await survey.again(broker, origin, positions)));
  }
  const views = found.filter(({ kind }) => kind === 'view');
  for (const [service, some] of Map.groupBy(views, (each) => each.service))
    again.push(...(await survey.views(service, [...new Set(some.map((each) => each.aggregate))])));
  const timers = found.filter(({ kind }) => kind === 'timer');
  for (const service of new Set(timers.map((each) => each.service)))
    again.push(...(await survey.overdue(service, 0, aggregate)));
  return again;
}

/** What the owners are asked, in the order in which it is: messages first, then what is made of them. */
export function planRepair(divergences: readonly Divergence[], operator: string): RepairRequest[] {
  const steps = ['republish', 'redeliver', 'fire', 'mend'] as const;
  return steps.flatMap((action) => {
    const those = divergences.filter(({ repair }) => repair?.action === action);
    return [...Map.groupBy(those, (each) => `${each.service} ${consumerIn(each.repair)}`).values()].flatMap(
      (some) => requestsOf(action, some, operator),
    );
  });
}

function requestsOf(
  action: RepairStep['action'],
  some: readonly Divergence[],
  operator: string,
): RepairRequest[] {
  const service = some[0]?.service ?? '';
  if (action === 'fire') {
    return some.map((each) => ({
      service,
      about: each.aggregate,
      body: {
        action,
        operator,
        saga: each.repair?.action === 'fire' ? each.repair.saga : '',
        id: each.aggregate,
      },
      divergences: [each],
    }));
  }
  if (action === 'mend') {
    return chunksOf([...Map.groupBy(some, (each) => each.aggregate)], AGGREGATES_AT_ONCE).map((group) => ({
      service,
      about: group.map(([aggregate]) => aggregate).join(', '),
      body: { action, operator, aggregates: group.map(([aggregate]) => aggregate) },
      divergences: group.flatMap(([, divergences]) => divergences),
    }));
  }
  const consumer = consumerIn(some[0]?.repair);
  return chunksOf(some, MESSAGES_AT_ONCE).map((group) => ({
    service,
    about: [...new Set(group.map((each) => each.aggregate))].slice(0, 3).join(', '),
    body: {
      action,
      operator,
      positions: group.map(({ position }) => position),
      ...(consumer !== '' && { consumer }),
    },
    divergences: group,
  }));
}

function consumerIn(step: RepairStep | undefined): string {
  return step?.action === 'redeliver' ? step.consumer : '';
}

function chunksOf<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, at) =>
    items.slice(at * size, (at + 1) * size),
  );
}
