import type { Clock } from '@flotilla/kernel';
import { UnitOfWork } from '@flotilla/persistence';
import { CLOCK, Jobs } from '@flotilla/service';
import { Inject, Injectable, Logger, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import {
  afterFailure,
  AttemptsExhaustedError,
  NoAddressError,
  type DeliveryLimits,
} from '../../domain/delivery-attempt.ts';
import { EmailPort } from '../../email/email-port.ts';
import { NotificationsConfig } from '../../notifications.config.ts';
import { Mailbox, type ClaimedMessage } from '../../persistence/mailbox.ts';

export const DELIVERY_JOB = 'deliver-messages';

/** Messages on their way at a time; the mail server's pool has as many connections. */
const BATCH = 5;
/** What a message's lease has beyond the time to send it: for marking it. */
const LEASE_RESERVE_MS = 30_000;

/**
 * Sends what is queued. A message is claimed in one unit of work, sent outside of any, and marked in another: a
 * crash in between sends it again, under the same Message-ID.
 */
@Injectable()
export class DeliverMessages implements OnModuleInit, OnApplicationShutdown {
  readonly #logger = new Logger(DeliverMessages.name);
  readonly #limits: DeliveryLimits;

  constructor(
    private readonly mailbox: Mailbox,
    private readonly email: EmailPort,
    private readonly unitOfWork: UnitOfWork,
    private readonly jobs: Jobs,
    private readonly config: NotificationsConfig,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {
    this.#limits = {
      initialMs: config.emailRetryInitialMs,
      maxMs: config.emailRetryMaxMs,
      maxAttempts: config.emailMaxAttempts,
    };
  }

  onModuleInit(): void {
    // What this process writes wakes the job, and each run asks when the next message is due; the interval is for
    // what another process wrote and left.
    this.jobs.register(DELIVERY_JOB, { intervalMs: 30_000, run: () => this.deliverDue() });
  }

  onApplicationShutdown(): void {
    this.email.close();
  }

  /** Tries a batch of due messages; true when there may be more. */
  async deliverDue(): Promise<boolean> {
    const claimed = await this.unitOfWork.run(() => {
      const now = this.clock.now();
      const leaseUntil = now + this.config.emailSendTimeoutMs + LEASE_RESERVE_MS;
      return this.mailbox.claim(BATCH, new Date(now), new Date(leaseUntil));
    });
    const attempts = await Promise.allSettled(claimed.map((message) => this.#deliver(message)));
    const broken = attempts.find((attempt) => attempt.status === 'rejected');
    if (broken) throw broken.reason;
    if (claimed.length === BATCH) return true;
    const nextAt = await this.mailbox.nextAttemptAt();
    if (nextAt) this.jobs.wake(DELIVERY_JOB, Math.max(0, nextAt.getTime() - this.clock.now()));
    return false;
  }

  async #deliver(message: ClaimedMessage): Promise<void> {
    let recipient: string;
    try {
      recipient = await this.#send(message);
    } catch (error) {
      return this.#settleFailure(message, error);
    }
    await this.unitOfWork.run(() => this.mailbox.markSent(message.id, recipient, new Date(this.clock.now())));
  }

  async #send({
    id,
    customerId,
    email,
    placementKnown,
    subject,
    body,
    attempts,
  }: ClaimedMessage): Promise<string> {
    if (attempts > this.#limits.maxAttempts) throw new AttemptsExhaustedError(attempts - 1);
    if (email === null) throw new NoAddressError(customerId, placementKnown);
    await this.email.send({ id, to: email, subject, text: body });
    return email;
  }

  async #settleFailure({ id, attempts }: ClaimedMessage, error: unknown): Promise<void> {
    const after = afterFailure(error, attempts, this.#limits);
    if (after.outcome === 'failed') {
      this.#logger.error(`Message ${id} will not reach its customer (attempt ${attempts}): ${after.why}`);
      await this.unitOfWork.run(() => this.mailbox.markFailed(id, after.why));
      return;
    }
    this.#logger.warn(
      `Message ${id} is tried again in ${after.delayMs} ms (attempt ${attempts}): ${after.why}`,
    );
    const at = new Date(this.clock.now() + after.delayMs);
    await this.unitOfWork.run(() => this.mailbox.retryAt(id, at, after.why));
  }
}
