import { ScreenOrder } from '@flotilla/contracts-fraud';
import { ReceiveReturn, ReleaseStock, ReserveStock } from '@flotilla/contracts-inventory';
import { OrderReviewed } from '@flotilla/contracts-orders';
import { AuthorisePayment, CapturePayment, RefundPayment, VoidPayment } from '@flotilla/contracts-payments';
import {
  CancelShipment,
  CreateShipment,
  ShipmentDelivered,
  ShipmentDispatched,
  ShipmentFailed,
  ShipmentLost,
  ShipmentReturned,
} from '@flotilla/contracts-shipping';
import type { ReplyOf } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import type { SagaReason } from '@flotilla/saga';
import { simulateSaga, type SagaSimulation } from '@flotilla/saga/testing';
import { fulfilmentSaga, type FulfilmentActions, type FulfilmentData } from './fulfilment.saga.ts';

const timeouts = {
  screeningTimeoutMs: 5_000,
  reviewTimeoutMs: 60_000,
  shippingTimeoutMs: 60_000,
  reservationHoldMs: 1_800_000,
};
const fulfilment = fulfilmentSaga(timeouts);
const orderId = newId();
const shipmentId = newId();
const at = '2026-01-02T03:04:05.000Z';
const money = { amountMinor: 1_250, currency: 'GBP' };

const order: FulfilmentData = {
  orderId,
  customerId: 'c-1',
  total: money,
  lineCount: 2,
  stocked: [{ sku: 'A', quantity: 5 }],
  largestQuantity: 5,
  paymentToken: 'tok_ok',
  shipTo: { name: 'Ada', country: 'United Kingdom' },
  reviewAboveMinor: 50_000,
};

class RecordedActions implements FulfilmentActions {
  readonly calls: string[] = [];
  readonly now = Date.parse(at);
  awaitReview(_: string, why: string): Promise<void> {
    return this.#note(`awaiting review: ${why}`);
  }
  isHeld(until: string): boolean {
    return this.now < Date.parse(until);
  }
  confirm(): Promise<void> {
    return this.#note('confirmed');
  }
  ship(_: string, trackingNumber: string): Promise<void> {
    return this.#note(`shipped as ${trackingNumber}`);
  }
  complete(): Promise<void> {
    return this.#note('completed');
  }
  refuseCancel(_: string, why: string): Promise<void> {
    return this.#note(`cancellation refused: ${why}`);
  }
  giveUp(_: string, reason: SagaReason): Promise<void> {
    return this.#note(`given up: ${reason.code}: ${reason.message}`);
  }
  #note(call: string): Promise<void> {
    this.calls.push(call);
    return Promise.resolve();
  }
}

let actions: RecordedActions;
beforeEach(() => (actions = new RecordedActions()));

type Conversation = SagaSimulation<FulfilmentData, FulfilmentActions>;
const start = (data: FulfilmentData = order): Conversation =>
  simulateSaga(fulfilment, data, { actions, id: orderId });
const passed: ReplyOf<ScreenOrder> = { verdict: 'pass', score: 0, reasons: [] };
const screened = (): Conversation => start().expectCommand(ScreenOrder).reply(passed);
const reserved = (): Conversation => screened().expectCommand(ReserveStock).reply({ orderId });
const authorised = (): Conversation =>
  reserved()
    .expectCommand(AuthorisePayment, { amount: money, token: 'tok_ok' })
    .reply({ paymentId: newId(), amount: money });
const captured = (): Conversation => authorised().expectCommand(CapturePayment).reply({ captured: money });
const handedOver = (): Conversation => captured().expectCommand(CreateShipment).reply({ shipmentId });
const dispatched = { shipmentId, orderId, trackingNumber: 'T-1', dispatchedAt: at };
const delivered = { shipmentId, orderId, deliveredAt: at };

describe('the fulfilment of an order', () => {
  it('goes from screening to delivery', async () => {
    await handedOver()
      .event(ShipmentDispatched, dispatched)
      .event(ShipmentDelivered, delivered)
      .expectCompleted();
    expect(actions.calls).toEqual(['confirmed', 'shipped as T-1', 'completed']);
  });

  it('takes events that come before the answer to CreateShipment', async () => {
    await captured()
      .event(ShipmentDispatched, dispatched)
      .event(ShipmentDelivered, delivered)
      .expectCommand(CreateShipment)
      .reply({ shipmentId })
      .expectCompleted();
    expect(actions.calls).toEqual(['confirmed', 'shipped as T-1', 'completed']);
  });

  it('of charges only reserves and ships nothing', async () => {
    await start({ ...order, stocked: [] })
      .expectCommand(ScreenOrder)
      .reply(passed)
      .expectCommand(AuthorisePayment)
      .reply({ paymentId: newId(), amount: money })
      .expectCommand(CapturePayment)
      .reply({ captured: money })
      .expectCompleted();
    expect(actions.calls).toEqual(['confirmed', 'completed']);
  });

  it('of something for nothing takes no payment', async () => {
    await start({ ...order, total: { amountMinor: 0, currency: 'GBP' } })
      .expectCommand(ScreenOrder)
      .reply(passed)
      .expectCommand(ReserveStock)
      .reply({ orderId })
      .expectCommand(CreateShipment);
  });
});

describe('an order that cannot be fulfilled', () => {
  it('is rejected for fraud before anything is done', async () => {
    await start()
      .expectCommand(ScreenOrder)
      .reply({ verdict: 'reject', score: 100, reasons: ['barred'] })
      .expectCompensated('fraud');
    expect(actions.calls).toEqual(['given up: fraud: barred']);
  });

  it('is rejected when stock is short, naming what is', async () => {
    await screened()
      .expectCommand(ReserveStock)
      .refuse('OutOfStock', { shortages: [{ sku: 'A', requested: 5, available: 2 }] })
      .expectCompensated('out_of_stock');
    expect(actions.calls).toEqual(['given up: out_of_stock: A: 2 of 5']);
  });

  it('gives the stock back when the payment is declined', async () => {
    await reserved()
      .expectCommand(AuthorisePayment)
      .refuse('PaymentDeclined', { reason: 'insufficient_funds' })
      .expectCommand(ReleaseStock, { orderId })
      .reply({ released: true })
      .expectCompensated('payment_declined');
    expect(actions.calls).toEqual(['given up: payment_declined: insufficient_funds']);
  });

  it('voids an authorisation whose outcome is unknown', async () => {
    await reserved()
      .expectCommand(AuthorisePayment)
      .fail()
      .expectCommand(VoidPayment, { orderId })
      .reply({ voided: true })
      .expectCommand(ReleaseStock)
      .reply({ released: true })
      .expectCompensated();
  });
});

describe('screening that does not answer', () => {
  it('lets small orders pass', async () => {
    await start().expectCommand(ScreenOrder).timeout().expectCommand(ReserveStock);
  });

  it('makes large ones wait for a person, who approves', async () => {
    await start({ ...order, reviewAboveMinor: 1_000 })
      .expectCommand(ScreenOrder)
      .timeout()
      .expectWaiting('reviewed')
      .event(OrderReviewed, {
        orderId,
        customerId: 'c-1',
        version: 3,
        at,
        decision: 'approve',
        reviewer: 'Grace',
      })
      .expectCommand(ReserveStock);
    expect(actions.calls).toHaveLength(1);
  });

  it('or rejects', async () => {
    await start({ ...order, reviewAboveMinor: 1_000 })
      .expectCommand(ScreenOrder)
      .timeout()
      .event(OrderReviewed, {
        orderId,
        customerId: 'c-1',
        version: 3,
        at,
        decision: 'reject',
        reviewer: 'Grace',
      })
      .expectCompensated('fraud');
    expect(actions.calls.at(-1)).toBe('given up: fraud: rejected by Grace');
  });
});

describe("a customer's cancellation", () => {
  it('before the payment gives the stock back', async () => {
    await screened()
      .cancel('changed my mind')
      .expectCommand(ReserveStock)
      .reply({ orderId })
      .expectCommand(ReleaseStock)
      .reply({ released: true })
      .expectCompensated('cancelled');
    expect(actions.calls).toEqual(['given up: cancelled: changed my mind']);
  });

  it('after the capture refunds, voids what is left and gives the stock back', async () => {
    await authorised()
      .cancel('changed my mind')
      .expectCommand(CapturePayment)
      .reply({ captured: money })
      .expectCommand(RefundPayment, { orderId, refundKey: 'cancellation' })
      .reply({ refunded: money })
      .expectCommand(VoidPayment)
      .reply({ voided: false })
      .expectCommand(ReleaseStock)
      .reply({ released: true })
      .expectCompensated('cancelled');
  });

  it('while the order is handed over waits for that, then asks shipping to stop it', async () => {
    await captured()
      .expectCommand(CreateShipment)
      .cancel('changed my mind', 'pending')
      .reply({ shipmentId })
      .expectCommand(CancelShipment, { orderId })
      .reply({ cancelled: true })
      .expectCancelDecided(true)
      .expectCommand(RefundPayment)
      .reply({ refunded: money })
      .expectCommand(VoidPayment)
      .reply({ voided: false })
      .expectCommand(ReleaseStock)
      .reply({ released: true })
      .expectCompensated('cancelled');
    expect(actions.calls).toEqual(['confirmed', 'given up: cancelled: changed my mind']);
  });

  it('is refused when the parcel has left, and answered the same when asked again', async () => {
    await handedOver()
      .cancel('changed my mind', 'pending')
      .event(ShipmentDispatched, dispatched)
      .expectCommand(CancelShipment)
      .refuse('AlreadyDispatched', { orderId, dispatchedAt: at }, 'it is dispatched')
      .expectCancelDecided(false, 'it is dispatched')
      .cancel('please', 'refused')
      .expectWaiting('delivered')
      .event(ShipmentDelivered, delivered)
      .expectCompleted();
    expect(actions.calls).toEqual([
      'confirmed',
      'shipped as T-1',
      'cancellation refused: it is dispatched',
      'completed',
    ]);
  });

  it('comes too late once the parcel is on its way', async () => {
    await handedOver().event(ShipmentDispatched, dispatched).cancel('too late', 'tooLate');
  });
});

describe('stock that is held for a time', () => {
  const heldUntil = (until: string): Conversation =>
    screened()
      .expectCommand(ReserveStock, { holdMs: 1_800_000 })
      .reply({ orderId, heldUntil: until })
      .expectCommand(AuthorisePayment)
      .reply({ paymentId: newId(), amount: money });

  it('is confirmed in time', async () => {
    await heldUntil('2026-01-02T03:04:06.000Z').expectCommand(CapturePayment);
    expect(actions.calls).toEqual(['confirmed']);
  });

  it('is not confirmed any more when its time is over: nothing is captured', async () => {
    await heldUntil('2026-01-02T03:04:04.000Z')
      .expectCommand(VoidPayment)
      .reply({ voided: true })
      .expectCommand(ReleaseStock)
      .reply({ released: true })
      .expectCompensated('reservation_expired');
    expect(actions.calls).toEqual(['given up: reservation_expired: the stock was not held long enough']);
  });

  it('must be held for longer than an order may take to be confirmed', () => {
    expect(() => fulfilmentSaga({ ...timeouts, reservationHoldMs: 300_000 })).toThrow(
      'may take 270000 ms: set ORDERS_RESERVATION_HOLD_MS to 330000 at least',
    );
  });
});

describe('a review', () => {
  it('that nobody makes in time rejects the order before anything is reserved', async () => {
    await start({ ...order, reviewAboveMinor: 1_000 })
      .expectCommand(ScreenOrder)
      .timeout()
      .expectWaiting('reviewed')
      .timeout()
      .expectCompensated('fraud');
    expect(actions.calls.at(-1)).toBe('given up: fraud: nobody reviewed it in time');
  });
});

describe('a parcel', () => {
  const parcel = { shipmentId, orderId };
  /** What is undone of an order that was paid and handed to shipping, up to its stock. */
  const undone = (conversation: Conversation) =>
    conversation
      .expectCommand(CancelShipment, { orderId })
      .reply({ cancelled: false })
      .expectCommand(RefundPayment, { orderId, refundKey: 'cancellation' })
      .reply({ refunded: money })
      .expectCommand(VoidPayment)
      .reply({ voided: false })
      .expectCommand(ReleaseStock);

  it('that the carrier never takes: the money goes back and the stock is free', async () => {
    await undone(handedOver().event(ShipmentFailed, { ...parcel, reason: 'not collected', attempts: 3 }))
      .reply({ released: true })
      .expectCompensated('shipment_failed');
    expect(actions.calls).toEqual(['confirmed', 'given up: shipment_failed: not collected']);
  });

  it('that comes back: the goods are booked in and the money goes back', async () => {
    const returned = { ...parcel, reason: 'unknown address', attempts: 3, returnedAt: at };
    await undone(
      handedOver()
        .event(ShipmentDispatched, dispatched)
        .event(ShipmentReturned, returned)
        .expectCommand(ReceiveReturn, {
          orderId,
          returnKey: 'undelivered',
          lines: [{ sku: 'A', quantity: 5 }],
        })
        .reply({ restocked: 5, damaged: 0 }),
    )
      .refuse('AlreadyShipped', { orderId })
      .expectCompensated('undeliverable');
    expect(actions.calls).toEqual([
      'confirmed',
      'shipped as T-1',
      'given up: undeliverable: unknown address',
    ]);
  });

  it('that is back before we hear that it left: a cancellation is refused, and the goods are booked in', async () => {
    const returned = { ...parcel, reason: 'unknown address', attempts: 3, returnedAt: at };
    await handedOver()
      .cancel('changed my mind', 'pending')
      .expectCommand(CancelShipment, { orderId })
      .refuse('AlreadyDispatched', { orderId, dispatchedAt: at }, 'it is returned')
      .expectCancelDecided(false, 'it is returned')
      .event(ShipmentDispatched, dispatched)
      .event(ShipmentReturned, returned)
      .expectCommand(ReceiveReturn, { orderId, returnKey: 'undelivered' })
      .reply({ restocked: 5, damaged: 0 })
      .expectCommand(CancelShipment, { orderId, takenBack: true });
  });

  const lost = (): Conversation =>
    handedOver()
      .event(ShipmentDispatched, dispatched)
      .event(ShipmentLost, { ...parcel, reason: 'no scan for ten days' })
      .expectParked('delivered', 'parcel_lost');

  it('that is lost waits for a person, and is completed when it is found', async () => {
    await lost().event(ShipmentDelivered, delivered).expectCompleted();
    expect(actions.calls.at(-1)).toBe('completed');
  });

  it('that is lost for good: a person gives it up, and the money goes back', async () => {
    await undone(lost().abort('never found')).refuse('AlreadyShipped', { orderId }).expectCompensated();
    expect(actions.calls.at(-1)).toMatch(/^given up: .*never found/);
  });
});
