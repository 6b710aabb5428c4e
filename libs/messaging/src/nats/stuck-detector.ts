import { errorMessage, type Clock } from '@flotilla/kernel';
import type { StuckReason } from '../broker.ts';
import type { MessagingLog } from '../messaging-log.ts';
import type { MessagingMetrics } from '../messaging-metrics.ts';
import type { PullLoop } from './pull-loop.ts';

export interface StuckDetectorOptions {
  /** The consumer's name, without a partition. */
  readonly consumer: string;
  readonly loops: readonly Pick<PullLoop, 'waitedMs' | 'info' | 'reopen'>[];
  /** How long nothing may be delivered before the server is asked why, in milliseconds. */
  readonly afterMs: number;
  readonly clock: Clock;
  readonly metrics: MessagingMetrics;
  readonly log: MessagingLog;
}

interface Looked {
  readonly atMs: number;
  /** How many deliveries the server had made by then, to all processes. */
  readonly deliveries: number;
}

const LINES: Readonly<Record<StuckReason, string>> = {
  'window-full':
    'as many of its messages as may be are delivered and not settled: they come again after the ack wait, if nobody works on them',
  'paused-at-server': 'somebody has paused it at the server: `nats consumer resume`',
  'no-delivery': 'the server delivers nothing: it is opened again',
};

/**
 * Finds consumers whose messages wait although somebody asks for them. Looks only when nothing has come for long, and
 * believes it when between two looks the server has delivered to nobody.
 */
export class StuckDetector {
  readonly #o: StuckDetectorOptions;
  readonly #looked = new Map<StuckDetectorOptions['loops'][number], Looked>();
  readonly #reasons = new Map<StuckDetectorOptions['loops'][number], StuckReason>();
  #told: StuckReason | undefined;
  #looking = false;

  constructor(options: StuckDetectorOptions) {
    this.#o = options;
  }

  get reason(): StuckReason | undefined {
    const reasons = this.#reasons.values().next();
    return reasons.done ? undefined : reasons.value;
  }

  /** In a line, for health and status. */
  get line(): string | undefined {
    const { reason } = this;
    return reason && `consumer ${this.#o.consumer} has messages and gets none: ${LINES[reason]}`;
  }

  /** Called regularly; costs a comparison for each loop that gets messages. */
  sweep(): void {
    const { loops, afterMs, clock } = this.#o;
    const now = clock.monotonicMs();
    let due: (typeof loops)[number] | undefined;
    for (const loop of loops) {
      if (loop.waitedMs < afterMs) {
        if (this.#looked.delete(loop)) this.#reasons.delete(loop);
      } else if (now - (this.#looked.get(loop)?.atMs ?? -Infinity) >= afterMs) {
        due ??= loop;
      }
    }
    this.#tell();
    if (due !== undefined && !this.#looking) void this.#look(due);
  }

  async #look(loop: StuckDetectorOptions['loops'][number]): Promise<void> {
    this.#looking = true;
    const { consumer, clock, log } = this.#o;
    const before = this.#looked.get(loop);
    try {
      const info = await loop.info();
      const deliveries = info.delivered.consumer_seq;
      const window = info.config.max_ack_pending ?? -1;
      const waits = info.num_pending > 0;
      const still = waits && before?.deliveries === deliveries;
      // Once it is resumed there, it gets the time to deliver.
      const resumable = info.paused === true;
      this.#looked.set(loop, { atMs: clock.monotonicMs(), deliveries: resumable ? -1 : deliveries });
      this.#reasons.delete(loop);
      if (waits && resumable) this.#reasons.set(loop, 'paused-at-server');
      else if (still && window > 0 && info.num_ack_pending >= window) this.#reasons.set(loop, 'window-full');
      else if (still) {
        this.#reasons.set(loop, 'no-delivery');
        loop.reopen(`${info.num_pending} messages wait and none is delivered`);
      }
    } catch (error) {
      this.#looked.set(loop, { atMs: clock.monotonicMs(), deliveries: before?.deliveries ?? -1 });
      log.warn({ consumer, error: errorMessage(error) }, 'The server does not say why nothing is delivered');
    } finally {
      this.#looking = false;
      this.#tell();
    }
  }

  /** A line and a metric for each change. */
  #tell(): void {
    const { reason } = this;
    if (reason === this.#told) return;
    const { consumer, metrics, log } = this.#o;
    this.#told = reason;
    metrics.stuck(consumer, reason);
    if (reason === undefined) log.info({ consumer }, 'A consumer is no longer stuck');
    else log.error({ consumer, reason }, `A consumer has messages and gets none: ${LINES[reason]}`);
  }
}
