import { hasEnded, sagaKey, type HistoryEntry, type SagaInstance, type SagaRef } from './instance.ts';
import {
  DEFAULT_LIST_LIMIT,
  type DueTimer,
  type SagaCount,
  type SagaFilter,
  type SagaStore,
} from './store.ts';

/**
 * Instances in memory, for tests and simulations. What is stored goes through JSON, as in the database, so that data
 * that does not survive it is noticed. {@link run} is its unit of work.
 */
export class InMemorySagaStore implements SagaStore {
  #instances = new Map<string, string>();
  #history = new Map<string, readonly string[]>();
  #last: Promise<unknown> = Promise.resolve();

  /** Runs units of work one after another; one that throws leaves nothing behind. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const unit = async (): Promise<T> => {
      const instances = new Map(this.#instances);
      const history = new Map(this.#history);
      try {
        return await work();
      } catch (error) {
        this.#instances = instances;
        this.#history = history;
        throw error;
      }
    };
    const result = this.#last.then(unit, unit);
    this.#last = result.catch(() => undefined);
    return result;
  }

  async insert(instance: SagaInstance, history: readonly HistoryEntry[]): Promise<boolean> {
    const key = sagaKey(instance);
    if (this.#instances.has(key)) return false;
    this.#instances.set(key, JSON.stringify(instance));
    await this.record(instance, history);
    return true;
  }

  async load(ref: SagaRef): Promise<SagaInstance | undefined> {
    const stored = this.#instances.get(sagaKey(ref));
    return stored === undefined ? undefined : parse(stored);
  }

  async save(before: SagaInstance, next: SagaInstance, history: readonly HistoryEntry[]): Promise<boolean> {
    const stored = await this.load(before);
    if (stored?.revision !== before.revision) return false;
    this.#instances.set(sagaKey(before), JSON.stringify(next));
    await this.record(before, history);
    return true;
  }

  async record(ref: SagaRef, history: readonly HistoryEntry[]): Promise<void> {
    const key = sagaKey(ref);
    this.#history.set(key, [
      ...(this.#history.get(key) ?? []),
      ...history.map((entry) => JSON.stringify(entry)),
    ]);
  }

  async nextTimers(limit: number): Promise<DueTimer[]> {
    return this.#all()
      .flatMap(({ saga, id, dueAt, traceparent }) =>
        dueAt === null ? [] : [{ saga, id, dueAt, traceparent }],
      )
      .sort((a, b) => a.dueAt - b.dueAt)
      .slice(0, limit);
  }

  async claimDue(ref: SagaRef, now: number): Promise<SagaInstance | undefined> {
    const instance = await this.load(ref);
    return instance !== undefined && instance.dueAt !== null && instance.dueAt <= now ? instance : undefined;
  }

  async list(filter: SagaFilter): Promise<SagaInstance[]> {
    const { saga, status, step, version, unchangedSince, limit = DEFAULT_LIST_LIMIT, after } = filter;
    return this.#all()
      .filter((each) => saga === undefined || each.saga === saga)
      .filter((each) => step === undefined || each.step === step)
      .filter((each) => version === undefined || each.version === version)
      .filter((each) => unchangedSince === undefined || each.updatedAt < unchangedSince)
      .filter(
        (each) => status === undefined || (status === 'open' ? !hasEnded(each) : each.status === status),
      )
      .filter((each) => after === undefined || descending(each, after) > 0)
      .sort(descending)
      .slice(0, limit);
  }

  async history(ref: SagaRef): Promise<HistoryEntry[]> {
    return (this.#history.get(sagaKey(ref)) ?? []).map((entry) => JSON.parse(entry) as HistoryEntry);
  }

  async countOpen(): Promise<SagaCount[]> {
    const counts = new Map<string, SagaCount>();
    for (const { saga, version, status } of this.#all().filter((each) => !hasEnded(each))) {
      const key = `${saga} ${version} ${status}`;
      counts.set(key, { saga, version, status, count: (counts.get(key)?.count ?? 0) + 1 });
    }
    return [...counts.values()];
  }

  async purge(endedBefore: number, limit: number): Promise<number> {
    const ended = this.#all()
      .filter(({ endedAt }) => endedAt !== null && endedAt < endedBefore)
      .slice(0, limit);
    for (const each of ended) {
      this.#instances.delete(sagaKey(each));
      this.#history.delete(sagaKey(each));
    }
    return ended.length;
  }

  #all(): SagaInstance[] {
    return [...this.#instances.values()].map(parse);
  }
}

function parse(stored: string): SagaInstance {
  return JSON.parse(stored) as SagaInstance;
}

function descending(a: SagaRef, b: SagaRef): number {
  if (a.id !== b.id) return a.id < b.id ? 1 : -1;
  if (a.saga === b.saga) return 0;
  return a.saga < b.saga ? 1 : -1;
}
