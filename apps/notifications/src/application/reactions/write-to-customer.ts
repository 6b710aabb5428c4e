import {
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderPlaced,
  OrderRejected,
  OrderReturnClosed,
  OrderReturned,
  OrderReturnRequested,
  OrderShipped,
} from '@flotilla/contracts-orders';
import { newId, type Clock } from '@flotilla/kernel';
import { UnitOfWork } from '@flotilla/persistence';
import { CLOCK, Independent, Jobs, Reaction } from '@flotilla/service';
import { Inject } from '@nestjs/common';
import { EventsHandler, type IEventHandler } from '@nestjs/cqrs';
import { writeMessage, type CancellationCause, type CustomerFact } from '../../domain/customer-message.ts';
import { EmailPort } from '../../email/email-port.ts';
import { Mailbox, type OrderContact } from '../../persistence/mailbox.ts';
import { DELIVERY_JOB } from '../jobs/deliver-messages.ts';

type ReturnEvent = OrderReturnRequested | OrderReturned | OrderReturnClosed;
type OrderEvent =
  OrderPlaced | OrderConfirmed | OrderShipped | OrderCompleted | OrderRejected | OrderCancelled | ReturnEvent;

/** What the customer is told of a cancellation, by the code of its reason; nothing of any other. */
const causes: Readonly<Record<string, CancellationCause>> = {
  shipment_failed: 'not-collected',
  undeliverable: 'undeliverable',
  reservation_expired: 'held-too-long',
};

/**
 * Writes one message to the customer per fact about an order. Facts may come before the order's placement: then the
 * customer's id stands for the address, until the message is sent.
 */
@EventsHandler(
  OrderPlaced,
  OrderConfirmed,
  OrderShipped,
  OrderCompleted,
  OrderRejected,
  OrderCancelled,
  OrderReturnRequested,
  OrderReturned,
  OrderReturnClosed,
)
@Reaction('customer-messages')
@Independent()
export class WriteToCustomerHandler implements IEventHandler<OrderEvent> {
  constructor(
    private readonly mailbox: Mailbox,
    private readonly email: EmailPort,
    private readonly unitOfWork: UnitOfWork,
    private readonly jobs: Jobs,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  async handle(event: OrderEvent): Promise<void> {
    const { orderId, customerId } = event.payload;
    const contact = await this.#contactAt(event);
    const told = factOf(event);
    const status = this.email.whenWritten;
    await this.mailbox.put({
      id: newId(this.clock.now()),
      orderId,
      fact: 'returnId' in told ? `${told.fact}:${told.returnId}` : told.fact,
      customerId,
      recipient: contact?.email ?? customerId,
      ...writeMessage(contact?.reference ?? orderId, told),
      status,
      at: new Date(this.clock.now()),
    });
    if (status === 'queued') this.unitOfWork.current?.afterCommit(() => this.jobs.wake(DELIVERY_JOB));
  }

  async #contactAt(event: OrderEvent): Promise<OrderContact | undefined> {
    const { orderId, customerId } = event.payload;
    if (!(event instanceof OrderPlaced)) return this.mailbox.contactOf(orderId);
    const { email, reference } = event.payload;
    const contact = { customerId, email, reference };
    await this.mailbox.rememberContact(orderId, contact);
    return contact;
  }
}

function factOf(event: OrderEvent): CustomerFact {
  if (event instanceof OrderPlaced)
    return { fact: 'placed', lines: event.payload.lines, total: event.payload.total };
  if (event instanceof OrderConfirmed) return { fact: 'confirmed' };
  if (event instanceof OrderShipped) return { fact: 'shipped', trackingNumber: event.payload.trackingNumber };
  if (event instanceof OrderCompleted) return { fact: 'completed', total: event.payload.total };
  if (event instanceof OrderRejected) return { fact: 'rejected', reason: event.payload.reason };
  if (event instanceof OrderCancelled) {
    const cause = causes[event.payload.code ?? ''];
    return { fact: 'cancelled', ...(cause && { cause }) };
  }
  const { returnId, lines, refund } = event.payload;
  const of = { returnId, lines: lines.map(({ sku, quantity }) => ({ name: sku, quantity })), refund };
  if (event instanceof OrderReturnRequested) return { fact: 'return-requested', ...of };
  if (event instanceof OrderReturned) return { fact: 'returned', ...of };
  return { fact: 'return-closed', expired: event.payload.outcome === 'expired', ...of };
}
