import type { Notification } from '@flotilla/contracts-notifications';
import { defineBulk, UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';

/** Where messages about an order go, and what its customer calls it. */
export interface OrderContact {
  readonly customerId: string;
  readonly email: string | undefined;
  readonly reference: string | undefined;
}

/** A message as it is first written. */
export interface NewMessage {
  readonly id: string;
  readonly orderId: string;
  /** What it tells: one message per order and fact, whoever writes it again. */
  readonly fact: string;
  readonly customerId: string;
  readonly recipient: string;
  readonly subject: string;
  readonly body: string;
  readonly status: 'sent' | 'queued';
  readonly at: Date;
}

/** A message that this process may try to send until its lease ends. */
export interface ClaimedMessage {
  readonly id: string;
  readonly customerId: string;
  readonly subject: string;
  readonly body: string;
  /** This attempt included. */
  readonly attempts: number;
  readonly email: string | null;
  readonly placementKnown: boolean;
}

interface NotificationRow extends Omit<Notification, 'createdAt' | 'sentAt'> {
  readonly createdAt: Date;
  readonly sentAt: Date | null;
}

const PUT = defineBulk(
  'writes',
  {
    notification_id: 'uuid',
    order_id: 'uuid',
    fact: 'text',
    customer_id: 'text',
    recipient: 'text',
    subject: 'text',
    body: 'text',
    status: 'text',
    created_at: 'timestamptz',
    sent_at: 'timestamptz',
  },
  (given) => `
  INSERT INTO mailbox (notification_id, order_id, fact, customer_id, recipient, subject, body, status,
    next_attempt_at, created_at, sent_at)
  SELECT notification_id, order_id, fact, customer_id, recipient, subject, body, status, created_at, created_at, sent_at
    FROM ${given}
  ON CONFLICT (order_id, fact) DO NOTHING`,
);

const REMEMBER = defineBulk(
  'writes',
  { order_id: 'uuid', customer_id: 'text', email: 'text', reference: 'text' },
  (given) => `
  INSERT INTO order_contacts (order_id, customer_id, email, reference)
  SELECT order_id, customer_id, email, reference FROM ${given}
  ON CONFLICT (order_id) DO NOTHING`,
);

const CONTACT_OF = defineBulk(
  'reads',
  { order_id: 'uuid' },
  (given) => `
  SELECT given.n::int AS n, c.customer_id AS "customerId", c.email, c.reference
    FROM ${given} JOIN order_contacts c ON c.order_id = given.order_id`,
);

/** The table of messages to customers, and the contacts of their orders. */
@Injectable()
export class Mailbox {
  constructor(private readonly unitOfWork: UnitOfWork) {}

  async rememberContact(orderId: string, { customerId, email, reference }: OrderContact): Promise<void> {
    await this.unitOfWork.bulk(REMEMBER, [orderId, customerId, email ?? null, reference ?? null]);
  }

  async contactOf(orderId: string): Promise<OrderContact | undefined> {
    const [row] = await this.unitOfWork.bulk<{
      customerId: string;
      email: string | null;
      reference: string | null;
    }>(CONTACT_OF, [orderId]);
    return (
      row && {
        customerId: row.customerId,
        email: row.email ?? undefined,
        reference: row.reference ?? undefined,
      }
    );
  }

  /** Writes a message unless the order's customer has been told this already. */
  async put(message: NewMessage): Promise<void> {
    const { id, orderId, fact, customerId, recipient, subject, body, status, at } = message;
    const sentAt = status === 'sent' ? at : null;
    await this.unitOfWork.bulk(PUT, [
      id,
      orderId,
      fact,
      customerId,
      recipient,
      subject,
      body,
      status,
      at,
      sentAt,
    ]);
  }

  /** All messages about an order, the oldest first. */
  async listOf(orderId: string): Promise<Notification[]> {
    const rows = await this.unitOfWork.query<NotificationRow>(
      `SELECT notification_id AS "notificationId", order_id AS "orderId", recipient, subject, body, status,
         created_at AS "createdAt", sent_at AS "sentAt"
       FROM mailbox WHERE order_id = $1 ORDER BY created_at, notification_id`,
      [orderId],
    );
    return rows.map(({ createdAt, sentAt, ...row }) => ({
      ...row,
      createdAt: createdAt.toISOString(),
      ...(sentAt && { sentAt: sentAt.toISOString() }),
    }));
  }

  /**
   * Takes up to `limit` due messages for this process and counts an attempt for each. Nobody else takes them until
   * `leaseUntil`; then whoever claims first has them, so that a sender that died loses none.
   */
  async claim(limit: number, now: Date, leaseUntil: Date): Promise<ClaimedMessage[]> {
    return this.unitOfWork.query<ClaimedMessage>(
      `WITH due AS (
         SELECT notification_id FROM mailbox WHERE status = 'queued' AND next_attempt_at <= $2
         ORDER BY next_attempt_at LIMIT $1 FOR UPDATE SKIP LOCKED
       ), claimed AS (
         UPDATE mailbox SET attempts = attempts + 1, next_attempt_at = $3
         FROM due WHERE mailbox.notification_id = due.notification_id
         RETURNING mailbox.*
       )
       SELECT claimed.notification_id AS id, claimed.customer_id AS "customerId", subject, body, attempts,
         contact.email, contact.order_id IS NOT NULL AS "placementKnown"
       FROM claimed LEFT JOIN order_contacts AS contact ON contact.order_id = claimed.order_id
       ORDER BY claimed.created_at, claimed.notification_id`,
      [limit, now, leaseUntil],
    );
  }

  /** When the next queued message is due, leases of other processes included; undefined when none is queued. */
  async nextAttemptAt(): Promise<Date | undefined> {
    const [row] = await this.unitOfWork.query<{ at: Date | null }>(
      `SELECT min(next_attempt_at) AS at FROM mailbox WHERE status = 'queued'`,
    );
    return row?.at ?? undefined;
  }

  async markSent(id: string, recipient: string, at: Date): Promise<void> {
    await this.unitOfWork.query(
      `UPDATE mailbox SET status = 'sent', recipient = $2, sent_at = $3, last_error = NULL
       WHERE notification_id = $1 AND status = 'queued'`,
      [id, recipient, at],
    );
  }

  async retryAt(id: string, at: Date, why: string): Promise<void> {
    await this.unitOfWork.query(
      `UPDATE mailbox SET next_attempt_at = $2, last_error = $3 WHERE notification_id = $1 AND status = 'queued'`,
      [id, at, why],
    );
  }

  async markFailed(id: string, why: string): Promise<void> {
    await this.unitOfWork.query(
      `UPDATE mailbox SET status = 'failed', last_error = $2 WHERE notification_id = $1 AND status = 'queued'`,
      [id, why],
    );
  }
}
