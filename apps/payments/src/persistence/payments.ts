import {
  PaymentAuthorised,
  PaymentCaptured,
  PaymentDeclined,
  PaymentRefunded,
  PaymentVoided,
} from '@flotilla/contracts-payments';
import type { Money } from '@flotilla/contracts-money';
import { defineBulk, UnitOfWork } from '@flotilla/persistence';
import { Injectable } from '@nestjs/common';
import { EventBus } from '@nestjs/cqrs';
import type {
  Change,
  ForestalledPayment,
  InFlight,
  Payment,
  PaymentFact,
  PendingPayment,
  Refund,
  RefusalReason,
} from '../domain/payment.ts';

interface PaymentRow {
  readonly id: string;
  readonly order_id: string;
  readonly status: Payment['status'];
  readonly amount_minor: number | null;
  readonly currency: string | null;
  readonly reference: string | null;
  readonly decline_reason: RefusalReason | null;
  readonly in_flight: InFlight['operation'] | null;
  readonly in_flight_key: string | null;
  readonly refunded_minor: number;
  readonly refunding_minor: number;
  readonly version: number;
}

const OPEN = defineBulk(
  'writes',
  {
    id: 'uuid',
    order_id: 'uuid',
    customer_id: 'text',
    status: 'text',
    amount_minor: 'bigint',
    currency: 'text',
    version: 'int',
  },
  (given) => `
  WITH given AS (SELECT * FROM ${given}), opened AS (
    INSERT INTO payments (id, order_id, customer_id, status, amount_minor, currency, version)
    SELECT id, order_id, customer_id, status, amount_minor, currency, version FROM given
    ON CONFLICT (order_id) DO NOTHING
    RETURNING id
  )
  SELECT given.n::int AS n FROM given JOIN opened USING (id)`,
);

// Amounts stay below 2^53 (the contract takes safe integers only), so a double holds them exactly.
const FIND = defineBulk(
  'reads',
  { order_id: 'uuid' },
  (given) => `
  SELECT given.n::int AS n, p.id, p.order_id, p.status, p.amount_minor::float8, p.currency, p.reference,
         p.decline_reason, p.in_flight, p.in_flight_key, p.refunded_minor::float8, p.refunding_minor::float8, p.version
    FROM ${given} JOIN payments p ON p.order_id = given.order_id`,
);

// One statement per step: the payment as it was decided on, or nothing, and with it the posting.
const RECORD = defineBulk(
  'writes',
  {
    id: 'uuid',
    before_version: 'int',
    status: 'text',
    reference: 'text',
    decline_reason: 'text',
    in_flight: 'text',
    in_flight_key: 'text',
    refunded_minor: 'bigint',
    refunding_minor: 'bigint',
    version: 'int',
    transaction_id: 'uuid',
    kind: 'text',
    currency: 'text',
    entries: 'jsonb',
  },
  (given) => `
  WITH given AS (SELECT * FROM ${given}), changed AS (
    UPDATE payments p
       SET status = given.status, reference = given.reference, decline_reason = given.decline_reason,
           in_flight = given.in_flight, in_flight_key = given.in_flight_key, refunded_minor = given.refunded_minor,
           refunding_minor = given.refunding_minor, version = given.version, updated_at = now()
      FROM given
     WHERE p.id = given.id AND p.version = given.before_version
    RETURNING p.id
  ), posted AS (
    INSERT INTO ledger_entries (transaction_id, line, kind, payment_id, account, direction, amount_minor, currency)
    SELECT given.transaction_id, entry.line, given.kind, given.id,
           entry.account, entry.direction, entry.amount_minor, given.currency
      FROM given JOIN changed USING (id) CROSS JOIN LATERAL ROWS FROM (
             jsonb_to_recordset(given.entries) AS (account text, direction text, "amountMinor" bigint)
           ) WITH ORDINALITY AS entry (account, direction, amount_minor, line)
  )
  SELECT given.n::int AS n FROM given JOIN changed USING (id)`,
);

/** A refund and how far it is. */
export interface StoredRefund extends Refund {
  readonly status: 'pending' | 'refunded' | 'refused';
}

/** The payments and their ledger, in the current unit of work. */
@Injectable()
export class Payments {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  async find(orderId: string): Promise<Payment | undefined> {
    const [row] = await this.unitOfWork.bulk<PaymentRow>(FIND, [orderId]);
    return row && paymentOf(row);
  }

  /** Opens the payment of an order, or answers the one that there is. */
  async open(
    payment: PendingPayment | ForestalledPayment,
    customerId?: string,
  ): Promise<{ readonly opened: boolean; readonly payment: Payment }> {
    const { id, orderId, status, amount, version } = payment;
    const inserted = await this.unitOfWork.bulk(OPEN, [
      id,
      orderId,
      customerId ?? null,
      status,
      amount?.amountMinor ?? null,
      amount?.currency ?? null,
      version,
    ]);
    if (inserted.length > 0) return { opened: true, payment };
    return { opened: false, payment: await this.#get(orderId) };
  }

  /**
   * Writes a step down: the payment, its posting, and what is to be published. If somebody else changed the
   * payment since it was read, nothing is written. Answers the payment as it is then.
   */
  async record(change: Change): Promise<Payment> {
    const { before, after, posting, fact } = change;
    const entries = posting?.entries ?? [];
    const changed = await this.unitOfWork.bulk(RECORD, [
      before.id,
      before.version,
      after.status,
      'reference' in after ? after.reference : null,
      after.status === 'declined' ? after.reason : null,
      after.status === 'authorised' ? (after.inFlight?.operation ?? null) : null,
      after.status === 'authorised' ? (after.inFlight?.key ?? null) : null,
      'refundedMinor' in after ? after.refundedMinor : 0,
      'refundingMinor' in after ? after.refundingMinor : 0,
      after.version,
      posting?.transactionId ?? null,
      posting?.kind ?? null,
      posting?.currency ?? null,
      JSON.stringify(entries),
    ]);
    if (changed.length === 0) return this.#get(before.orderId);
    if (fact) this.events.publish(eventOf(after, fact));
    return after;
  }

  async findRefund(paymentId: string, refundKey: string): Promise<StoredRefund | undefined> {
    const [row] = await this.unitOfWork.query<{
      amount_minor: number;
      currency: string;
      reason: string;
      status: StoredRefund['status'];
    }>(
      'SELECT amount_minor::float8, currency, reason, status FROM refunds WHERE payment_id = $1 AND refund_key = $2',
      [paymentId, refundKey],
    );
    if (!row) return undefined;
    const amount: Money = { amountMinor: row.amount_minor, currency: row.currency };
    return { refundKey, amount, reason: row.reason, status: row.status };
  }

  async addRefund(paymentId: string, { refundKey, amount, reason }: Refund): Promise<void> {
    await this.unitOfWork.query(
      `INSERT INTO refunds (payment_id, refund_key, amount_minor, currency, reason, status)
       VALUES ($1, $2, $3, $4, $5, 'pending')`,
      [paymentId, refundKey, amount.amountMinor, amount.currency, reason],
    );
  }

  async settleRefund(paymentId: string, refundKey: string, status: 'refunded' | 'refused'): Promise<void> {
    await this.unitOfWork.query('UPDATE refunds SET status = $3 WHERE payment_id = $1 AND refund_key = $2', [
      paymentId,
      refundKey,
      status,
    ]);
  }

  async #get(orderId: string): Promise<Payment> {
    const payment = await this.find(orderId);
    if (!payment)
      throw new Error(`The payment of order ${orderId} is gone: rows of payments are never deleted`);
    return payment;
  }
}

function paymentOf(row: PaymentRow): Payment {
  const identity = { id: row.id, orderId: row.order_id, version: row.version };
  const { status } = row;
  if (row.amount_minor === null || row.currency === null) {
    return { ...identity, status: 'forestalled', amount: undefined };
  }
  const amount: Money = { amountMinor: row.amount_minor, currency: row.currency };
  // The table's checks hold what a state needs; the fallbacks only tell the compiler so.
  const reference = row.reference ?? '';
  switch (status) {
    case 'pending':
    case 'forestalled':
      return { ...identity, status, amount };
    case 'authorised': {
      const { in_flight: operation, in_flight_key: key } = row;
      const inFlight = operation !== null && key !== null ? { operation, key } : undefined;
      return { ...identity, status, amount, reference, inFlight };
    }
    case 'declined':
      return { ...identity, status, amount, reason: row.decline_reason ?? 'declined' };
    case 'captured':
    case 'refunded':
      return {
        ...identity,
        status,
        amount,
        reference,
        refundedMinor: row.refunded_minor,
        refundingMinor: row.refunding_minor,
      };
    case 'voided':
      return { ...identity, status, amount, reference };
  }
}

function eventOf({ id: paymentId, orderId }: Payment, fact: PaymentFact): object {
  const payload = { paymentId, orderId, amount: fact.amount };
  switch (fact.fact) {
    case 'authorised':
      return new PaymentAuthorised(payload);
    case 'declined':
      return new PaymentDeclined({ ...payload, reason: fact.reason });
    case 'captured':
      return new PaymentCaptured(payload);
    case 'voided':
      return new PaymentVoided(payload);
    case 'refunded':
      return new PaymentRefunded({
        ...payload,
        refundKey: fact.refundKey,
        reason: fact.reason,
        totalRefunded: fact.total,
      });
  }
}
