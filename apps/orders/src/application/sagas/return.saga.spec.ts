import { ReceiveReturn } from '@flotilla/contracts-inventory';
import { RefundPayment } from '@flotilla/contracts-payments';
import { CancelReturnShipment, CreateReturnShipment, ReturnReceived } from '@flotilla/contracts-shipping';
import { newId } from '@flotilla/kernel';
import type { SagaReason } from '@flotilla/saga';
import { simulateSaga, type SagaSimulation } from '@flotilla/saga/testing';
import { returnSaga, type ReturnActions, type ReturnData } from './return.saga.ts';

const saga = returnSaga({ returnTimeoutMs: 60_000 });
const [orderId, returnId, shipmentId] = [newId(), newId(), newId()];
const at = '2026-01-02T03:04:05.000Z';
const refund = { amountMinor: 510, currency: 'GBP' };

const data: ReturnData = {
  orderId,
  customerId: 'c-1',
  returnId,
  lines: [
    { sku: 'A', quantity: 1, unitPriceMinor: 255, damaged: false },
    { sku: 'A', quantity: 1, unitPriceMinor: 255, damaged: true },
  ],
  refund,
  shipFrom: { name: 'Ada', country: 'United Kingdom' },
};

class RecordedActions implements ReturnActions {
  readonly calls: string[] = [];
  receive(): Promise<void> {
    return this.#note('received');
  }
  complete(): Promise<void> {
    return this.#note('completed');
  }
  close(_: ReturnData, { code, message }: SagaReason): Promise<void> {
    return this.#note(`closed: ${code}: ${message}`);
  }
  #note(call: string): Promise<void> {
    this.calls.push(call);
    return Promise.resolve();
  }
}

let actions: RecordedActions;
beforeEach(() => (actions = new RecordedActions()));

type Conversation = SagaSimulation<ReturnData, ReturnActions>;
const start = (of: ReturnData = data): Conversation => simulateSaga(saga, of, { actions, id: returnId });
const fetched = (of?: ReturnData): Conversation =>
  start(of)
    .expectCommand(CreateReturnShipment, { returnId, orderId, lines: [{ sku: 'A' }, { sku: 'A' }] })
    .reply({ shipmentId, trackingNumber: 'R-1' });
const received = { shipmentId, orderId, returnId, receivedAt: at };

describe('a return', () => {
  it('brings the goods back, books them in and pays for them', async () => {
    await fetched()
      .event(ReturnReceived, received)
      .expectCommand(ReceiveReturn, {
        orderId,
        returnKey: returnId,
        lines: [
          { sku: 'A', quantity: 1, damaged: false },
          { sku: 'A', quantity: 1, damaged: true },
        ],
      })
      .reply({ restocked: 1, damaged: 1 })
      .expectCommand(RefundPayment, { orderId, refundKey: returnId, amount: refund })
      .reply({ refunded: refund })
      .expectCompleted();
    expect(actions.calls).toEqual(['received', 'completed']);
  });

  it('takes a parcel that comes before the answer to its creation', async () => {
    await start()
      .event(ReturnReceived, received)
      .expectCommand(CreateReturnShipment)
      .reply({ shipmentId, trackingNumber: 'R-1' })
      .expectCommand(ReceiveReturn);
  });

  it('of what cost nothing pays nothing', async () => {
    await fetched({ ...data, refund: { amountMinor: 0, currency: 'GBP' } })
      .event(ReturnReceived, received)
      .expectCommand(ReceiveReturn)
      .reply({ restocked: 1, damaged: 1 })
      .expectCompleted();
  });

  it('whose goods do not come expires', async () => {
    await fetched()
      .timeout()
      .expectCommand(CancelReturnShipment, { returnId })
      .reply({ cancelled: true })
      .expectCompensated('expired');
    expect(actions.calls).toEqual(['closed: expired: the goods did not come back in time']);
  });

  it('whose goods came while its time ran out goes on', async () => {
    await fetched()
      .timeout()
      .expectCommand(CancelReturnShipment)
      .refuse('AlreadyReceived', { returnId, receivedAt: at })
      .expectCommand(ReceiveReturn)
      .reply({ restocked: 1, damaged: 1 })
      .expectCommand(RefundPayment);
    expect(actions.calls).toEqual(['received']);
  });

  it('for which no parcel can be had is closed, and what may be under way is stopped', async () => {
    await start()
      .expectCommand(CreateReturnShipment)
      .fail('HANDLER_FAILED', { retry: 'never' })
      .expectCommand(CancelReturnShipment)
      .reply({ cancelled: false })
      .expectCompensated();
    expect(actions.calls).toEqual([expect.stringMatching(/^closed: HANDLER_FAILED/)]);
  });

  it('never keeps the money of goods that are here: a refund that cannot be made waits for a person', async () => {
    await fetched()
      .event(ReturnReceived, received)
      .expectCommand(ReceiveReturn)
      .reply({ restocked: 1, damaged: 1 })
      .expectCommand(RefundPayment)
      .refuse('ExceedsCaptured', { refundable: { amountMinor: 1, currency: 'GBP' } })
      .expectParked('refund', 'ExceedsCaptured');
    expect(actions.calls).toEqual(['received']);
  });
});
