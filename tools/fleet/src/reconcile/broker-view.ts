import { DeadLetters } from '@flotilla/messaging';
import {
  jetstreamManager,
  JetStreamApiCodes,
  JetStreamApiError,
  type JetStreamManager,
} from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';

/** What a stream says of itself. */
export interface StreamFacts {
  readonly queue: boolean;
  readonly first: number;
  readonly last: number;
}

export interface ConsumerFacts {
  /** Up to here everything is acknowledged. */
  readonly floor: number;
  readonly waiting: number;
}

const PAGE = 1_000;
const PAGE_BYTES = 4_194_304;
const READ_WITHIN_MS = 10_000;
const NO_MESSAGE: ReadonlySet<number> = new Set([204, 404]);
const MAX_DEAD_LETTERS = 10_000;
const ABSENT: ReadonlySet<number> = new Set([
  JetStreamApiCodes.ConsumerNotFound,
  JetStreamApiCodes.StreamNotFound,
]);

/** The broker as it is in one round: each thing is asked for once. */
export class BrokerView {
  readonly #nats: NatsConnection;
  readonly #manager: Promise<JetStreamManager>;
  readonly #streams = new Map<string, Promise<StreamFacts | undefined>>();
  readonly #consumers = new Map<string, Promise<ConsumerFacts | undefined>>();
  #deadLetters: Promise<ReadonlyMap<string, number>> | undefined;

  constructor(nats: NatsConnection) {
    this.#nats = nats;
    this.#manager = jetstreamManager(nats, { checkAPI: false });
  }

  stream(name: string): Promise<StreamFacts | undefined> {
    return remembered(this.#streams, name, async () => {
      const info = await orAbsent(async () => (await this.#manager).streams.info(name));
      return (
        info && {
          queue: info.config.metadata?.['flotilla-kind'] === 'queue',
          first: info.state.first_seq,
          last: info.state.last_seq,
        }
      );
    });
  }

  consumer(stream: string, name: string): Promise<ConsumerFacts | undefined> {
    return remembered(this.#consumers, `${stream}/${name}`, async () => {
      const info = await orAbsent(async () => (await this.#manager).consumers.info(stream, name));
      return info && { floor: info.ack_floor.stream_seq, waiting: info.num_pending + info.num_ack_pending };
    });
  }

  /** The ids (`Nats-Msg-Id`) at those places of a stream; nothing for a place where nothing is. */
  async idsAt(stream: string, sequences: readonly number[]): Promise<ReadonlyMap<number, string>> {
    const wanted = new Set(sequences);
    const ids = new Map<number, string>();
    const left = [...wanted].sort((a, b) => a - b);
    for (let from = left[0]; from !== undefined; from = left.find((each) => each > (from ?? 0))) {
      let last = from;
      for (const { sequence, id } of await this.#page(stream, from, Math.min(PAGE, left.length * 2))) {
        if (wanted.has(sequence)) ids.set(sequence, id);
        last = sequence;
      }
      from = last;
    }
    return ids;
  }

  /** The dead letter of a message in a consumer; its sequence among the dead letters. */
  async deadLetter(service: string, consumer: string, messageId: string): Promise<number | undefined> {
    this.#deadLetters ??= this.#readDeadLetters();
    return (await this.#deadLetters).get(`${service}/${consumer}/${messageId}`);
  }

  async #readDeadLetters(): Promise<ReadonlyMap<string, number>> {
    const letters = await new DeadLetters(this.#nats).list({ limit: MAX_DEAD_LETTERS });
    return new Map(
      letters.map(({ service, consumer, messageId, sequence }) => [
        `${service}/${consumer}/${messageId ?? ''}`,
        sequence,
      ]),
    );
  }

  async #page(stream: string, from: number, limit: number): Promise<{ sequence: number; id: string }[]> {
    const found: { sequence: number; id: string }[] = [];
    const answers = await this.#nats.requestMany(
      `$JS.API.DIRECT.GET.${stream}`,
      JSON.stringify({ seq: from, batch: limit, max_bytes: PAGE_BYTES }),
      { strategy: 'sentinel', maxWait: READ_WITHIN_MS, noMux: true },
    );
    for await (const { headers } of answers) {
      if (NO_MESSAGE.has(headers?.code ?? 0)) return found;
      found.push({
        sequence: Number(headers?.get('Nats-Sequence')),
        id: headers?.get('Nats-Msg-Id') ?? '',
      });
    }
    return found;
  }
}

function remembered<T>(known: Map<string, Promise<T>>, key: string, ask: () => Promise<T>): Promise<T> {
  const before = known.get(key);
  if (before !== undefined) return before;
  const asked = ask();
  known.set(key, asked);
  return asked;
}

async function orAbsent<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (error instanceof JetStreamApiError && ABSENT.has(error.code)) return undefined;
    throw error;
  }
}
