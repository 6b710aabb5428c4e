import {
  PaymentAuthorised,
  PaymentCaptured,
  PaymentDeclined,
  PaymentRefunded,
  PaymentVoided,
} from '@flotilla/contracts-payments';
import type { Money } from '@flotilla/contracts-money';
import { UnitOfWork } from '@flotilla/persistence';
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

const INSERT = `
  INSERT INTO payments (id, order_id, customer_id, status, amount_minor, currency, version)
  VALUES ($1, $2, $3, $4, $5, $6, $7)
  ON CONFLICT (order_id) DO NOTHING
  RETURNING version`;

// Amounts stay below 2^53 (the contract takes safe integers only), so a double holds them exactly.
const SELECT = `
  SELECT id, order_id, status, amount_minor::float8, currency, reference, decline_reason, in_flight, in_flight_key,
         refunded_minor::float8, refunding_minor::float8, version
    FROM payments WHERE order_id = $1`;

// One statement per step: the payment as it was decided on, or nothing, and with it the posting.
const UPDATE = `
  WITH changed AS (
    UPDATE payments
       SET status = $3, reference = $4, decline_reason = $5, in_flight = $6, in_flight_key = $7,
           refunded_minor = $8, refunding_minor = $9, version = $10, updated_at = now()
     WHERE id = $1 AND version = $2
    RETURNING id
  ), posted AS (
    INSERT INTO ledger_entries (transaction_id, line, kind, payment_id, account, direction, amount_minor, currency)
    SELECT $11, entry.line, $12, changed.id, entry.account, entry.direction, entry.amount_minor, $13
      FROM changed, unnest($14::text[], $15::text[], $16::bigint[])
           WITH ORDINALITY AS entry (account, direction, amount_minor, line)
  )
  SELECT id FROM changed`;

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
    const [row] = await this.unitOfWork.query<PaymentRow>(SELECT, [orderId]);
    return row && paymentOf(row);
  }

  /** Opens the payment of an order, or answers the one that there is. */
  async open(
    payment: PendingPayment | ForestalledPayment,
    customerId?: string,
  ): Promise<{ readonly opened: boolean; readonly payment: Payment }> {
    const { id, orderId, status, amount, version } = payment;
    const inserted = await this.unitOfWork.query(INSERT, [
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
    const changed = await this.unitOfWork.query(UPDATE, [
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
      entries.map(({ account }) => account),
      entries.map(({ direction }) => direction),
      entries.map(({ amountMinor }) => amountMinor),
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
      return new PaymentRefunded({ ...payload, refundKey: fact.refundKey, reason: fact.reason });
  }
}
