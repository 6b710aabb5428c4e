import { errorMessage, systemClock, type TimerHandle } from '@flotilla/kernel';
import { ConfigBucket, configSubject, type ConfigEntry } from '@flotilla/messaging';
import type { Logger, SettingState } from '@flotilla/observability';
import type { NatsConnection, Subscription } from '@nats-io/nats-core';
import { readDynamicSetting, type Settings } from './config/define-config.ts';
import { dynamicValuesOf, type DynamicValues } from './config/dynamic-values.ts';

export interface DynamicSettingsParts {
  readonly service: string;
  readonly config: object;
  readonly settings: Settings | undefined;
  readonly connection: NatsConnection;
  readonly logger: Logger;
}

/** A change comes by itself; this is for the one whose news was lost. */
const REFRESH_MS = 30_000;
/** News of a change may overtake the change: how long after it to look again, in milliseconds. */
const LOOK_AGAIN_MS = [20, 100, 500, 2_000];

interface Known {
  entry: ConfigEntry | undefined;
  /** Why the bucket's value is not the one that counts. */
  refused: string | undefined;
  /** Readings in a row without an entry that was there: a copy of the bucket may be behind. */
  missing: number;
}

/**
 * Keeps a service's dynamic settings at what the bucket says. The configuration has the values; this only changes
 * them. What the bucket says and the schema refuses is not taken: the value before stays, and it is said until it is
 * mended. Without NATS, or the bucket, the last known values stay. It waits for a server, so its time is the machine's.
 */
export class DynamicSettings {
  readonly #parts: DynamicSettingsParts;
  readonly #settings: Settings;
  readonly #values: DynamicValues;
  readonly #bucket: ConfigBucket;
  readonly #known = new Map<string, Known>();
  #subscription: Subscription | undefined;
  #timer: TimerHandle | undefined;
  #refreshing: Promise<void> | undefined;
  #again = false;
  #unreadable: string | undefined;
  #stopped = false;

  private constructor(parts: DynamicSettingsParts, settings: Settings, values: DynamicValues) {
    this.#parts = parts;
    this.#settings = settings;
    this.#values = values;
    this.#bucket = new ConfigBucket(parts.connection);
    for (const name of values.names)
      this.#known.set(name, { entry: undefined, refused: undefined, missing: 0 });
  }

  /**
   * Reads the bucket, so that a service starts with what it says, and follows it from then on. When it cannot be
   * read, the service starts with the environment's values. Undefined when the service has nothing that changes.
   */
  static async open(parts: DynamicSettingsParts): Promise<DynamicSettings | undefined> {
    const values = dynamicValuesOf(parts.config);
    const { settings } = parts;
    if (!settings || !values || values.names.length === 0) return undefined;
    const opened = new DynamicSettings(parts, settings, values);
    opened.#follow();
    await opened.#refresh();
    return opened;
  }

  /** What each setting is and where from, for the metrics. */
  states(): SettingState[] {
    return [...this.#known].map(([name, { entry, refused }]) => ({
      name,
      revision: entry?.value === undefined ? 0 : entry.revision,
      refused: refused !== undefined,
    }));
  }

  /** What is wrong with the settings, a line each; empty when all is as the bucket says. */
  problems(): string[] {
    const refused = [...this.#known.values()].flatMap((known) => known.refused ?? []);
    return this.#unreadable === undefined ? refused : [this.#unreadable, ...refused];
  }

  /** Looks now; resolves when it has looked. */
  refresh(): Promise<void> {
    return this.#refresh();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#subscription?.unsubscribe();
  }

  #follow(): void {
    const { connection, service, logger } = this.#parts;
    this.#subscription = connection.subscribe(configSubject(service, '*'), {
      callback: (error) => {
        if (error === null) void this.#lookUntilChanged();
        else logger.error({ err: error }, 'Changes of settings are only seen every half minute');
      },
    });
    void (async () => {
      for await (const { type } of connection.status()) if (type === 'reconnect') void this.#refresh();
    })();
    const again = (): void => {
      if (this.#stopped) return;
      void this.#refresh();
      this.#timer = systemClock.after(REFRESH_MS, again);
    };
    this.#timer = systemClock.after(REFRESH_MS, again);
  }

  async #lookUntilChanged(): Promise<void> {
    const before = this.#revisions();
    for (const pauseMs of LOOK_AGAIN_MS) {
      await this.#refresh();
      if (this.#stopped || this.#revisions() !== before) return;
      await systemClock.sleep(pauseMs);
    }
    await this.#refresh();
  }

  #revisions(): string {
    return [...this.#known.values()].map(({ entry }) => entry?.revision ?? 0).join();
  }

  /** One reading at a time; who asks during one gets the next. */
  #refresh(): Promise<void> {
    if (this.#refreshing) {
      this.#again = true;
      return this.#refreshing;
    }
    this.#refreshing = (async () => {
      do {
        this.#again = false;
        await this.#readAll();
      } while (this.#again && !this.#stopped);
      this.#refreshing = undefined;
    })();
    return this.#refreshing;
  }

  async #readAll(): Promise<void> {
    const { service, logger } = this.#parts;
    if (this.#stopped || this.#parts.connection.isClosed()) return;
    try {
      await Promise.all(
        [...this.#known].map(async ([name, known]) =>
          this.#take(name, known, await this.#bucket.read(service, name)),
        ),
      );
      if (this.#unreadable !== undefined) logger.info('The settings that change can be read again');
      this.#unreadable = undefined;
    } catch (error) {
      if (this.#stopped) return;
      const problem = `the settings cannot be read, the last known values stay: ${errorMessage(error)}`;
      if (this.#unreadable === undefined) logger.warn({ err: error }, `At the moment ${problem}`);
      this.#unreadable = problem;
    }
  }

  #take(name: string, known: Known, entry: ConfigEntry | undefined): void {
    const before = known.entry;
    known.missing = entry === undefined && before !== undefined ? known.missing + 1 : 0;
    if (known.missing === 1) return;
    // A copy that is behind is no news.
    if (entry !== undefined && before !== undefined && entry.at.getTime() < before.at.getTime()) return;
    if (entry?.revision === before?.revision && entry?.value === before?.value) return;
    known.entry = entry;
    this.#apply(name, known, entry);
  }

  #apply(name: string, known: Known, entry: ConfigEntry | undefined): void {
    const { service, logger } = this.#parts;
    const text = entry?.value || undefined;
    const facts = { setting: name, value: text, revision: entry?.revision, by: entry?.by };
    const reading =
      text === undefined ? undefined : readDynamicSetting({ settings: this.#settings }, name, text);
    if (reading !== undefined && 'problem' in reading) {
      known.refused = `${name}: ${reading.problem}`;
      logger.error(
        { ...facts, stays: this.#values.get(name) },
        `A setting was refused, and stays as it was: ${known.refused}. Mend it: fleet config set ${service} ${name} <value>`,
      );
      return;
    }
    known.refused = undefined;
    const was = this.#values.get(name);
    try {
      if (reading === undefined) this.#values.reset(name);
      else this.#values.set(name, reading.value);
    } catch (error) {
      logger.error(
        { ...facts, err: error },
        `Something could not follow the new value of ${name}: ${errorMessage(error)}`,
      );
    }
    logger.info(
      { ...facts, was },
      `The setting ${name} is ${text ?? 'what the environment says'}${entry?.by === undefined ? '' : `, by ${entry.by}`}`,
    );
  }
}
