import { hasEnded, sagaKey, type SagaInstance, type SagaRef } from './instance.ts';

/** Instances kept, at most. */
const MAX_INSTANCES = 1_000;
/** Of all of them together, in characters of JSON. */
const MAX_CHARACTERS = 8_000_000;

interface Recent {
  readonly revision: number;
  /** The instance without its data. */
  readonly rest: string;
  readonly data: string;
}

/**
 * Instances as this process has last committed them, as JSON: what is taken out is as new as what comes from the
 * database, whatever a definition does to its data in place. The oldest are forgotten first.
 */
export class RecentInstances {
  readonly #kept = new Map<string, Recent>();
  readonly #maxInstances: number;
  readonly #maxCharacters: number;
  #characters = 0;
  /** The JSON of data that was taken out: data that does not change is not made into JSON again. */
  readonly #texts = new WeakMap<object, string>();

  constructor(maxInstances = MAX_INSTANCES, maxCharacters = MAX_CHARACTERS) {
    this.#maxInstances = maxInstances;
    this.#maxCharacters = maxCharacters;
  }

  /**
   * The JSON of data that was taken out and goes back unchanged, also when somebody has changed the object in place;
   * undefined for other data.
   */
  textOf(data: unknown): string | undefined {
    return isObject(data) ? this.#texts.get(data) : undefined;
  }

  /** Keeps an instance, unless it has ended or a later revision is kept already. `text`: its data as JSON. */
  put(instance: SagaInstance, text: string): void {
    const key = sagaKey(instance);
    if ((this.#kept.get(key)?.revision ?? 0) >= instance.revision) return;
    this.#remove(key);
    if (hasEnded(instance)) return;
    const { data: _data, ...rest } = instance;
    const recent = { revision: instance.revision, rest: JSON.stringify(rest), data: text };
    this.#kept.set(key, recent);
    this.#characters += sizeOf(recent);
    while (this.#kept.size > this.#maxInstances || this.#characters > this.#maxCharacters) {
      const [oldest] = this.#kept.keys();
      this.#remove(oldest as string);
    }
  }

  /** Takes an instance out. Whoever changes it puts it back when that is committed. */
  take(ref: SagaRef): SagaInstance | undefined {
    const recent = this.#remove(sagaKey(ref));
    if (recent === undefined) return undefined;
    const data: unknown = JSON.parse(recent.data);
    if (isObject(data)) this.#texts.set(data, recent.data);
    return { ...(JSON.parse(recent.rest) as Omit<SagaInstance, 'data'>), data };
  }

  #remove(key: string): Recent | undefined {
    const recent = this.#kept.get(key);
    if (recent === undefined) return undefined;
    this.#kept.delete(key);
    this.#characters -= sizeOf(recent);
    return recent;
  }
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function sizeOf({ rest, data }: Recent): number {
  return rest.length + data.length;
}
