import { errorCode, errorMessage, systemClock, type Clock } from '@flotilla/kernel';
import type { PersistenceLog } from '../log.ts';
import { DeadlinePassedError } from '../persistence.errors.ts';

/** Reads the deadline of the running code, milliseconds since the epoch; undefined: nobody waits. */
export type DeadlineSource = () => number | undefined;

/** What the watch needs of a connection. */
export interface Cancellable {
  /** Whether statement number `index` is the one that the server works on: those behind it must not be hit. */
  runs(index: number): boolean;
  /** Has the server end what it works on; resolves when the server knows. */
  cancel(): Promise<void>;
}

interface Watched {
  readonly client: Cancellable;
  readonly index: number;
  readonly deadline: number;
  cut: boolean;
  cutting: Promise<void> | undefined;
  /** Not asked again before; monotonic. */
  againMs: number;
}

/** Postgres: the statement was cancelled. */
const QUERY_CANCELED = '57014';
const SWEEP_MS = 50;
const AGAIN_MS = 1_000;

/**
 * Ends statements whose caller no longer waits for them, by asking the server to cancel them. Costs nothing on the
 * wire before that, unlike a `statement_timeout` with each of them, and one timer for all; it is up to 50 ms late.
 */
export class DeadlineWatch {
  readonly #source: DeadlineSource;
  readonly #log: PersistenceLog | undefined;
  readonly #clock: Clock;
  readonly #watched = new Set<Watched>();
  #sweeping = false;

  constructor(
    source: DeadlineSource,
    { clock = systemClock, log }: { readonly clock?: Clock; readonly log?: PersistenceLog } = {},
  ) {
    this.#source = source;
    this.#clock = clock;
    this.#log = log;
  }

  /** The deadline of the running code. */
  deadline(): number | undefined {
    return this.#source();
  }

  isOver(deadline: number): boolean {
    return deadline <= this.#clock.now();
  }

  /**
   * The statement's result; when the deadline comes first, {@link DeadlinePassedError}. Settles only when no request to
   * cancel is under way any more, so that who gets the connection next is not hit by it.
   */
  async cutAt<R>(deadline: number, client: Cancellable, index: number, result: Promise<R>): Promise<R> {
    const watched: Watched = { client, index, deadline, cut: false, cutting: undefined, againMs: 0 };
    this.#watched.add(watched);
    this.#sweepLater();
    try {
      return await result;
    } catch (error) {
      throw watched.cut && errorCode(error) === QUERY_CANCELED ? new DeadlinePassedError(error) : error;
    } finally {
      this.#watched.delete(watched);
      await watched.cutting;
    }
  }

  #sweepLater(): void {
    if (this.#sweeping) return;
    this.#sweeping = true;
    this.#clock.after(SWEEP_MS, () => {
      this.#sweeping = false;
      const now = this.#clock.now();
      const nowMs = this.#clock.monotonicMs();
      for (const watched of this.#watched) {
        if (watched.deadline > now || watched.againMs > nowMs || watched.cutting !== undefined) continue;
        if (watched.client.runs(watched.index)) this.#cut(watched, nowMs);
      }
      if (this.#watched.size > 0) this.#sweepLater();
    });
  }

  #cut(watched: Watched, nowMs: number): void {
    watched.cut = true;
    watched.againMs = nowMs + AGAIN_MS;
    watched.cutting = watched.client
      .cancel()
      .catch((error: unknown) =>
        this.#log?.warn(`A statement whose deadline has passed could not be cut: ${errorMessage(error)}`),
      )
      .finally(() => {
        watched.cutting = undefined;
      });
  }
}
