import {
  JetStreamApiCodes,
  JetStreamApiError,
  type ConsumerInfo,
  type JetStreamManager,
} from '@nats-io/jetstream';
import {
  createInbox,
  millis,
  nanos,
  type Msg,
  type NatsConnection,
  type Subscription,
} from '@nats-io/nats-core';
import { backoffDelayMs, errorMessage, type Clock } from '@flotilla/kernel';
import { MissingTopologyError } from '../messaging.errors.ts';
import type { MessagingLog } from '../messaging-log.ts';
import type { HealReason, MessagingMetrics } from '../messaging-metrics.ts';
import { drainSubscription } from './drain-subscription.ts';
import { readAckSubject, type DeliveryFacts } from './ack-subject.ts';

/** How a consumer is pulled from. The defaults suit production; tests want shorter times. */
export interface PullOptions {
  /** How long one pull waits at the server, in milliseconds. Default 30,000. */
  readonly expiresMs: number;
  /**
   * How often the server says that a waiting pull is alive, in milliseconds. Default 3,000; at most half of `expiresMs`.
   * After 2.5 times of silence the consumer is opened again: so long it rests when the server that led it was lost.
   */
  readonly heartbeatMs: number;
}

export interface PullLoopOptions extends PullOptions {
  readonly connection: NatsConnection;
  readonly manager: JetStreamManager;
  readonly inboxPrefix: string;
  readonly stream: string;
  readonly name: string;
  /** The most that is held or asked for at a time. */
  readonly bufferSize: number;
  readonly receive: (message: Msg, facts: DeliveryFacts) => void;
  readonly clock: Clock;
  readonly metrics: MessagingMetrics;
  readonly log: MessagingLog;
}

const reopenBackoff = { initialMs: 250, maxMs: 5_000 };

/**
 * Keeps one durable pull consumer flowing: asks for as much as there is room for, notices when the server has
 * forgotten the request, and opens the consumer again until it is there.
 *
 * The client library's own `consume()` either pulls without regard to how much is unhandled, or buffers
 * messages of which the server is not told that they are in good hands, so that a slow handler makes them come
 * again; and it waits for half a minute to look for a consumer that was gone.
 */
export class PullLoop {
  readonly #o: PullLoopOptions;
  readonly #label: string;
  readonly #pullSubject: string;
  readonly #inbox: string;
  readonly #stopped = new AbortController();
  #bufferSize: number;
  #subscription: Subscription | undefined;
  #status: 'healing' | 'running' | 'stopped' = 'healing';
  #detail: string | undefined = 'opening';
  #ackWaitMs = 30_000;
  /** Told apart by their subject: what an earlier epoch's pulls say is no news. */
  #epoch = 0;
  #held = 0;
  #pending = 0;
  /** Asked for and not arrived. */
  #outstanding = 0;
  #lastHeardMs = 0;
  #silentSweeps = 0;
  #healing = false;
  /** While the consumer is paused: how many may be asked for. */
  #permit: 0 | 1 | undefined;
  /** When something was delivered last, or the loop was opened. */
  #deliveredMs = 0;
  /** Ends the wait between two attempts to open the consumer. */
  #nap = new AbortController();

  constructor(options: PullLoopOptions) {
    this.#o = options;
    this.#bufferSize = options.bufferSize;
    this.#label = `${options.stream}/${options.name}`;
    this.#pullSubject = `$JS.API.CONSUMER.MSG.NEXT.${options.stream}.${options.name}`;
    this.#inbox = createInbox(options.inboxPrefix);
  }

  get status(): 'healing' | 'running' | 'stopped' {
    return this.#status;
  }

  get detail(): string | undefined {
    return this.#detail === undefined ? undefined : `${this.#label}: ${this.#detail}`;
  }

  /** How many messages waited behind the last delivery; 0 when the server has nothing for us. */
  get pending(): number {
    return this.#pending;
  }

  get ackWaitMs(): number {
    return this.#ackWaitMs;
  }

  /** Opens the consumer for the first time; rejects when it is not there or the server does not answer. */
  async start(): Promise<void> {
    this.#subscription = this.#o.connection.subscribe(`${this.#inbox}.*`, {
      callback: (error, message) => {
        if (error !== null) this.#heal('refused-pull', errorMessage(error));
        else this.#onMessage(message);
      },
    });
    try {
      await this.#open();
    } catch (error) {
      this.#subscription.unsubscribe();
      this.#status = 'stopped';
      if (isNotFound(error)) throw new MissingTopologyError([`consumer ${this.#label}`]);
      throw error;
    }
  }

  /** From now on; what is held beyond a smaller buffer stays until it is released. */
  set bufferSize(bufferSize: number) {
    this.#bufferSize = bufferSize;
    this.#pullIfRoom();
  }

  /** None or one message at a time from now on; undefined: as many as there is room for. What was asked for comes. */
  set permit(permit: 0 | 1 | undefined) {
    this.#permit = permit;
    this.#pullIfRoom();
  }

  /** For how long it has asked in vain, in milliseconds; 0 while it does not ask. */
  get waitedMs(): number {
    if (this.#status !== 'running' || this.#outstanding === 0 || this.#permit !== undefined) return 0;
    return this.#o.clock.monotonicMs() - this.#deliveredMs;
  }

  /** What the server knows of the consumer. */
  info(): Promise<ConsumerInfo> {
    return this.#o.manager.consumers.info(this.#o.stream, this.#o.name);
  }

  /** Asks anew, because there are messages and none comes. */
  reopen(detail: string): void {
    this.#heal('no-delivery', detail);
  }

  /** There is room again for one message. */
  released(): void {
    if (this.#held > 0) this.#held--;
    this.#pullIfRoom();
  }

  /** The connection is gone, and the server's knowledge of our pulls with it. */
  disconnected(): void {
    if (this.#status === 'stopped') return;
    this.#epoch++;
    this.#outstanding = 0;
    this.#status = 'healing';
    this.#detail = 'disconnected from the server';
  }

  reconnected(): void {
    if (this.#status === 'stopped') return;
    this.#nap.abort();
    this.#heal('reconnected', 'reconnected');
  }

  /** Called regularly: a pull that waits must be heard of. */
  sweep(): void {
    if (this.#status !== 'running' || this.#outstanding === 0) {
      this.#silentSweeps = 0;
      return;
    }
    const silentMs = this.#o.clock.monotonicMs() - this.#lastHeardMs;
    // Twice in a row: after a long computation the clock is ahead of what waits in the socket.
    this.#silentSweeps = silentMs > this.#o.heartbeatMs * 2.5 ? this.#silentSweeps + 1 : 0;
    if (this.#silentSweeps >= 2)
      this.#heal('heartbeats-missed', `nothing heard for ${Math.round(silentMs)} ms`);
  }

  /** Stops asking; what is on its way still arrives before this resolves. */
  async stop(): Promise<void> {
    if (this.#status === 'stopped') return;
    this.#status = 'stopped';
    this.#detail = undefined;
    this.#stopped.abort();
    this.#nap.abort();
    if (this.#subscription !== undefined) await drainSubscription(this.#subscription, this.#o.clock);
  }

  #onMessage(message: Msg): void {
    this.#lastHeardMs = this.#o.clock.monotonicMs();
    this.#silentSweeps = 0;
    const facts = readAckSubject(message.reply);
    if (facts !== undefined) {
      this.#held++;
      this.#deliveredMs = this.#lastHeardMs;
      this.#pending = facts.pending;
      if (this.#outstanding > 0) this.#outstanding--;
      this.#o.receive(message, facts);
      this.#pullIfRoom();
      return;
    }
    if (message.subject === `${this.#inbox}.${this.#epoch}`) this.#onStatus(message);
  }

  /** https://docs.nats.io/reference/reference-protocols/nats_api_reference: the ends of a pull request. */
  #onStatus(message: Msg): void {
    const headers = message.headers;
    const code = headers?.code ?? 0;
    const description = headers?.description ?? '';
    if (code === 100) {
      this.#pending = 0;
      return;
    }
    const left = Number(headers?.get('Nats-Pending-Messages') || Number.NaN);
    this.#outstanding = Number.isNaN(left) ? 0 : Math.max(0, this.#outstanding - left);
    if (
      code === 408 ||
      code === 404 ||
      (code === 409 && /batch completed|leadership change|server shutdown/i.test(description))
    ) {
      this.#pullIfRoom();
    } else if (code === 503 || (code === 409 && /consumer deleted/i.test(description))) {
      this.#heal('consumer-missing', description || 'the server has no such consumer');
    } else {
      this.#heal('refused-pull', `${code} ${description}`);
    }
  }

  #pullIfRoom(): void {
    if (this.#status !== 'running') return;
    if (this.#permit !== undefined) {
      if (this.#permit === 1 && this.#outstanding === 0) this.#pull(1);
      return;
    }
    const room = this.#bufferSize - this.#held - this.#outstanding;
    // In portions: one request for each freed place would cost as much as the messages.
    if (room * 4 < this.#bufferSize) return;
    this.#pull(room);
  }

  #pull(room: number): void {
    this.#outstanding += room;
    this.#o.connection.publish(
      this.#pullSubject,
      JSON.stringify({
        batch: room,
        expires: nanos(this.#o.expiresMs),
        idle_heartbeat: nanos(this.#o.heartbeatMs),
      }),
      { reply: `${this.#inbox}.${this.#epoch}` },
    );
  }

  async #open(): Promise<void> {
    const info = await this.info();
    if (this.#stopped.signal.aborted) return;
    this.#ackWaitMs = millis(info.config.ack_wait ?? nanos(30_000));
    this.#epoch++;
    this.#outstanding = 0;
    this.#lastHeardMs = this.#o.clock.monotonicMs();
    this.#deliveredMs = this.#lastHeardMs;
    this.#silentSweeps = 0;
    this.#status = 'running';
    this.#detail = undefined;
    this.#pullIfRoom();
  }

  #heal(reason: HealReason, detail: string): void {
    if (this.#status === 'stopped') return;
    this.#status = 'healing';
    this.#detail = detail;
    if (this.#healing) return;
    this.#healing = true;
    this.#o.metrics.healed(this.#o.name, reason);
    const fields = { consumer: this.#label, reason, detail };
    if (reason === 'reconnected') this.#o.log.info(fields, 'Opening a consumer again after reconnecting');
    else this.#o.log.warn(fields, 'A consumer does not receive: opening it again');
    // A server that refuses each pull must not be asked without pause.
    void this.#reopen(reason !== 'reconnected');
  }

  async #reopen(pauseFirst: boolean): Promise<void> {
    const { clock, connection, log } = this.#o;
    try {
      for (let attempt = 1; !this.#stopped.signal.aborted && !connection.isClosed(); attempt++) {
        try {
          if (attempt > 1 || pauseFirst) {
            this.#nap = new AbortController();
            await clock.sleep(backoffDelayMs(attempt, reopenBackoff), this.#nap.signal);
            if (this.#stopped.signal.aborted) return;
          }
          await this.#open();
          log.info({ consumer: this.#label, attempts: attempt }, 'A consumer receives again');
          return;
        } catch (error) {
          this.#detail = isNotFound(error)
            ? 'the consumer is not on the server: run `fleet provision`'
            : errorMessage(error);
          if (attempt === 1 || attempt % 20 === 0) {
            log.error(
              { consumer: this.#label, attempts: attempt, error: this.#detail },
              'A consumer cannot be opened',
            );
          }
        }
      }
    } finally {
      this.#healing = false;
    }
  }
}

/** Whether JetStream says that the stream or the consumer does not exist. */
export function isNotFound(error: unknown): boolean {
  return (
    error instanceof JetStreamApiError &&
    (error.code === JetStreamApiCodes.ConsumerNotFound || error.code === JetStreamApiCodes.StreamNotFound)
  );
}
