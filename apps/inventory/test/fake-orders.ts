import { FindOrder, type OrderStatus } from '@flotilla/contracts-orders';
import { encodeEnvelope, failureBody, rpcSubject } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import type { Broker, IncomingMessage, OutgoingReply, Stoppable } from '@flotilla/messaging';

/** The orders service as far as inventory asks it, played on the wire. */
export class FakeOrders {
  /** What an order is; one that is not here there is not. */
  readonly statuses = new Map<string, OrderStatus>();
  /** How often it was asked about an order. */
  readonly asked = new Map<string, number>();
  readonly #broker: Broker;
  #server: Stoppable | undefined;

  constructor(broker: Broker) {
    this.#broker = broker;
  }

  async start(): Promise<void> {
    this.#server = await this.#broker.serve(
      rpcSubject(FindOrder.contract),
      { queue: 'orders', maxInFlight: 100 },
      (message) => Promise.resolve(this.#answer(message)),
    );
  }

  async stop(): Promise<void> {
    await this.#server?.stop({ drainMs: 0 });
    this.#server = undefined;
  }

  #answer(message: IncomingMessage): OutgoingReply {
    const { envelope } = message;
    const { orderId } = new FindOrder(message.json() as { orderId: string }).payload;
    this.asked.set(orderId, (this.asked.get(orderId) ?? 0) + 1);
    const status = this.statuses.get(orderId);
    const body =
      status === undefined
        ? failureBody(FindOrder.failure('OrderNotFound', { orderId }))
        : { orderId, customerId: 'c-1', status, total: { amountMinor: 1, currency: 'GBP' }, version: 1 };
    return {
      headers: encodeEnvelope({
        id: newId(),
        type: envelope.type,
        source: 'orders',
        time: new Date().toISOString(),
        subject: envelope.subject,
        correlationId: envelope.correlationId,
        causationId: envelope.id,
        outcome: status === undefined ? 'refused' : 'ok',
      }),
      body: JSON.stringify(body),
    };
  }
}
