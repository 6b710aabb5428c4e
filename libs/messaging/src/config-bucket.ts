import { jetstream, jetstreamManager, JetStreamApiError, type JetStreamManager } from '@nats-io/jetstream';
import { headers as natsHeaders, type MsgHdrs, type NatsConnection } from '@nats-io/nats-core';
import { ConfigConflictError } from './messaging.errors.ts';
import { answeredBy } from './nats/answered-by.ts';
import { CONFIG_HISTORY, CONFIG_STREAM, configSubject } from './topology.ts';

/** One value that a setting has, or had, in the bucket. */
export interface ConfigEntry {
  /** Undefined: it was unset, and the environment's value counts. */
  readonly value: string | undefined;
  /** Grows with every change of any setting. */
  readonly revision: number;
  readonly at: Date;
  /** Who changed it, as they said. */
  readonly by?: string;
}

export interface ConfigChange {
  readonly by: string;
  /** The revision that the change was decided on: 0 for none. Another one meanwhile is a {@link ConfigConflictError}. */
  readonly after: number;
}

const BY_HEADER = 'flotilla-by';
/** As the key-value clients of NATS write it. */
const OPERATION_HEADER = 'KV-Operation';
const WRONG_LAST_SEQUENCE = new Set([10_071, 10_164]);

/**
 * The settings that change without a restart: a key-value bucket of NATS (`CONFIG`), so that its own tools read and
 * write it too (`nats kv get CONFIG orders.maxInFlight`). Not written with the key-value client, which does not show
 * the header that says who changed a value.
 */
export class ConfigBucket {
  readonly #connection: NatsConnection;
  #manager: Promise<JetStreamManager> | undefined;

  constructor(connection: NatsConnection) {
    this.#connection = connection;
  }

  /** The latest; undefined when the key has never been set. Throws `MissingTopologyError` without the bucket. */
  async read(service: string, key: string): Promise<ConfigEntry | undefined> {
    const manager = await this.#jsm();
    const stored = await answeredBy(CONFIG_STREAM, () =>
      manager.direct.getMessage(CONFIG_STREAM, { last_by_subj: configSubject(service, key) }),
    );
    return stored === null ? undefined : entryOf(stored);
  }

  /** The latest values of a key that the bucket keeps, oldest first. */
  async history(service: string, key: string): Promise<ConfigEntry[]> {
    const manager = await this.#jsm();
    if ((await this.read(service, key)) === undefined) return [];
    const entries: ConfigEntry[] = [];
    const stored = await manager.direct.getBatch(CONFIG_STREAM, {
      seq: 1,
      next_by_subj: configSubject(service, key),
      batch: CONFIG_HISTORY,
    });
    for await (const each of stored) entries.push(entryOf(each));
    return entries;
  }

  /** Every key that the bucket knows, set or unset, as `service` and `key`. */
  async keys(): Promise<{ service: string; key: string }[]> {
    const manager = await this.#jsm();
    const info = await answeredBy(CONFIG_STREAM, () =>
      manager.streams.info(CONFIG_STREAM, { subjects_filter: configSubject('*', '*') }),
    );
    return Object.keys(info.state.subjects ?? {})
      .sort()
      .map((subject) => {
        const [, , service = '', key = ''] = subject.split('.');
        return { service, key };
      });
  }

  /** Writes a value and returns its revision. Whoever calls this has validated it. */
  set(service: string, key: string, value: string, change: ConfigChange): Promise<number> {
    return this.#write(service, key, value, natsHeaders(), change);
  }

  /** Has the environment's value count again. */
  unset(service: string, key: string, change: ConfigChange): Promise<number> {
    const headers = natsHeaders();
    headers.set(OPERATION_HEADER, 'DEL');
    return this.#write(service, key, '', headers, change);
  }

  async #write(
    service: string,
    key: string,
    value: string,
    headers: MsgHdrs,
    { by, after }: ConfigChange,
  ): Promise<number> {
    headers.set(BY_HEADER, by.replace(/\s+/g, ' ').trim().slice(0, 200));
    try {
      const receipt = await answeredBy(CONFIG_STREAM, () =>
        jetstream(this.#connection).publish(configSubject(service, key), value, {
          headers,
          expect: { lastSubjectSequence: after },
        }),
      );
      return receipt.seq;
    } catch (error) {
      if (error instanceof JetStreamApiError && WRONG_LAST_SEQUENCE.has(error.code)) {
        throw new ConfigConflictError(service, key, error);
      }
      throw error;
    }
  }

  #jsm(): Promise<JetStreamManager> {
    return (this.#manager ??= jetstreamManager(this.#connection, { checkAPI: false }));
  }
}

interface Stored {
  readonly header: MsgHdrs;
  readonly data: Uint8Array;
  readonly seq: number;
  readonly time: Date;
}

function entryOf({ header, data, seq, time }: Stored): ConfigEntry {
  const by = header.get(BY_HEADER);
  const deleted = header.get(OPERATION_HEADER) !== '';
  return {
    value: deleted ? undefined : new TextDecoder().decode(data),
    revision: seq,
    at: time,
    ...(by !== '' && { by }),
  };
}
