import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock, TimerHandle } from '@flotilla/kernel';
import { currentContext } from '@flotilla/observability';

/** What a reader wants to find in a view; `id` names the row that it waits for. */
export interface Wanted {
  readonly id: string;
}

export interface ViewWaitsOptions<W extends Wanted> {
  readonly clock: Clock;
  /** Looks up, with one query, which of them the view has already. */
  readonly reached: (wanted: readonly W[]) => Promise<readonly boolean[]>;
  /** Readers that wait at a time; one more is told at once that the view is behind. */
  readonly maxWaiting: number;
  /** How often what another replica may have written is looked for, in milliseconds. Default 100. */
  readonly recheckMs?: number;
}

/** The caller gets its answer before its own deadline, in milliseconds. */
const MARGIN_MS = 250;

interface Waiting<W> {
  missing: readonly W[];
  readonly resolve: (caughtUp: boolean) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Lets readers wait until a view has what they have written. A commit of this process looks for those that wait for its
 * rows; what other replicas commit is looked for at intervals, and only while somebody waits. However many wait, there
 * is one query at a time for all of them.
 */
export class ViewWaits<W extends Wanted> {
  readonly #options: ViewWaitsOptions<W>;
  readonly #waiting = new Set<Waiting<W>>();
  /** One query serves many readers: it has nobody's deadline and belongs to nobody's trace. */
  readonly #inOwnContext = AsyncLocalStorage.snapshot();
  /** The ids of which there is news. */
  #due: Set<string> | 'all' = new Set();
  #checking = false;
  #timer: TimerHandle | undefined;

  constructor(options: ViewWaitsOptions<W>) {
    this.#options = options;
  }

  /** Readers that wait now. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Whether the view has all of it within `withinMs`, and in time for the deadline of the request that is being
   * answered. Rejects when the view cannot be read.
   */
  async caughtUp(wanted: readonly W[], withinMs: number): Promise<boolean> {
    if (wanted.length === 0) return true;
    const { clock, maxWaiting } = this.#options;
    if (this.#waiting.size >= maxWaiting) return false;
    const { promise, resolve, reject } = Promise.withResolvers<boolean>();
    const waiting: Waiting<W> = { missing: wanted, resolve, reject };
    this.#waiting.add(waiting);
    const leftMs = (currentContext()?.deadline ?? Infinity) - clock.now() - MARGIN_MS;
    const late = clock.after(Math.max(0, Math.min(withinMs, leftMs)), () => resolve(false));
    for (const { id } of wanted) this.#news(id);
    try {
      return await promise;
    } finally {
      late.cancel();
      this.#waiting.delete(waiting);
      if (this.#waiting.size === 0) {
        this.#timer?.cancel();
        this.#timer = undefined;
      }
    }
  }

  /** Tells that rows were committed; `ids` is asked only when somebody waits. */
  written(ids: () => Iterable<string>): void {
    if (this.#waiting.size === 0) return;
    for (const id of ids()) this.#news(id);
  }

  #news(id: string | undefined): void {
    if (id === undefined) this.#due = 'all';
    else if (this.#due !== 'all') this.#due.add(id);
    if (this.#checking) return;
    this.#checking = true;
    queueMicrotask(() => this.#inOwnContext(() => void this.#checkAll()));
  }

  async #checkAll(): Promise<void> {
    while (this.#due === 'all' || this.#due.size > 0) {
      const due = this.#due;
      this.#due = new Set();
      const concerned = [...this.#waiting].filter(
        ({ missing }) => due === 'all' || missing.some(({ id }) => due.has(id)),
      );
      if (concerned.length > 0) await this.#check(concerned);
    }
    this.#checking = false;
    this.#keepChecking();
  }

  async #check(concerned: readonly Waiting<W>[]): Promise<void> {
    const wanted = concerned.flatMap(({ missing }) => missing);
    try {
      const reached = (await this.#options.reached(wanted)).values();
      for (const waiting of concerned) {
        waiting.missing = waiting.missing.filter(() => reached.next().value !== true);
        if (waiting.missing.length === 0) waiting.resolve(true);
      }
    } catch (error) {
      for (const waiting of concerned) waiting.reject(error);
    }
  }

  #keepChecking(): void {
    if (this.#waiting.size === 0) return;
    this.#timer ??= this.#options.clock.after(this.#options.recheckMs ?? 100, () => {
      this.#timer = undefined;
      this.#news(undefined);
    });
  }
}
