import { FlotillaError } from '@flotilla/kernel';
import type { Settings } from './define-config.ts';

type Listener = (value: unknown, before: unknown) => void;

/** The settings of one configuration that change without a restart: their values now, and who acts on a change. */
export class DynamicValues {
  readonly #defaults: Readonly<Record<string, unknown>>;
  readonly #values: Record<string, unknown>;
  readonly #listeners = new Map<string, Set<Listener>>();

  constructor(defaults: Readonly<Record<string, unknown>>) {
    this.#defaults = defaults;
    this.#values = { ...defaults };
  }

  get names(): string[] {
    return Object.keys(this.#defaults);
  }

  has(name: string): boolean {
    return name in this.#defaults;
  }

  get(name: string): unknown {
    return this.#values[name];
  }

  /** The value that counts from now on. Throws what a listener throws; the value counts nevertheless. */
  set(name: string, value: unknown): void {
    const before = this.#values[name];
    if (Object.is(before, value)) return;
    this.#values[name] = value;
    const failures: unknown[] = [];
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        listener(value, before);
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /** Back to the environment's value. */
  reset(name: string): void {
    this.set(name, this.#defaults[name]);
  }

  listen(name: string, listener: Listener): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    listeners.add(listener);
    return () => listeners.delete(listener);
  }
}

const valuesOf = new WeakMap<object, DynamicValues>();

/** Gives a configuration its values: the fixed ones as they are, the dynamic ones as getters of what counts now. */
export function bindValues(
  config: object,
  settings: Settings,
  values: Readonly<Record<string, unknown>>,
): void {
  const changing = Object.entries(values).filter(([name]) => settings[name]?.dynamic === true);
  const dynamic = new DynamicValues(Object.fromEntries(changing));
  for (const [name, value] of Object.entries(values)) {
    Object.defineProperty(
      config,
      name,
      dynamic.has(name) ? { get: () => dynamic.get(name), enumerable: true } : { value, enumerable: true },
    );
  }
  valuesOf.set(config, dynamic);
}

/** The dynamic values of a configuration; undefined for what no configuration class made. */
export function dynamicValuesOf(config: object): DynamicValues | undefined {
  return valuesOf.get(config);
}

/**
 * Calls `listener` each time that a dynamic setting has got another value, for what has to act on it; whoever reads
 * the setting where it is used needs no listener. Returns the function that ends it. Throws `NOT_DYNAMIC`.
 */
export function onConfigChange<C extends object, K extends keyof C & string>(
  config: C,
  name: K,
  listener: (value: C[K], before: C[K]) => void,
): () => void {
  const dynamic = valuesOf.get(config);
  if (!dynamic?.has(name)) {
    throw new FlotillaError(
      'NOT_DYNAMIC',
      `The setting ${name} cannot change while the service runs: declare it with dynamic: true, or do not listen to it`,
      { retry: 'never' },
    );
  }
  return dynamic.listen(name, listener as Listener);
}
