import { ReceiveReturn } from '@flotilla/contracts-inventory';
import type { ReturnLine } from '@flotilla/contracts-orders';
import { RefundPayment } from '@flotilla/contracts-payments';
import {
  CancelReturnShipment,
  CreateReturnShipment,
  ReturnReceived,
  type Address,
} from '@flotilla/contracts-shipping';
import { abort, command, defineSaga, local, waitFor, type SagaReason } from '@flotilla/saga';

/** What the saga carries: the return as it was claimed. */
export interface ReturnData {
  readonly orderId: string;
  readonly customerId: string;
  readonly returnId: string;
  readonly lines: readonly ReturnLine[];
  readonly refund: { readonly amountMinor: number; readonly currency: string };
  readonly shipFrom: Address;
  /** The parcel has not come in time; shipping has the last word on whether it is here. */
  readonly overdue?: boolean;
}

/** What the saga does in the orders' own database. */
export interface ReturnActions {
  receive(data: ReturnData): Promise<void>;
  complete(data: ReturnData): Promise<void>;
  /** Ends a return without goods and money: what it claimed can be returned again. */
  close(data: ReturnData, reason: SagaReason): Promise<void>;
}

export interface ReturnTimeouts {
  /** How long a customer has to send the goods. */
  readonly returnTimeoutMs: number;
}

/** What the configuration uses unless it is told otherwise. */
export const returnTimeouts: ReturnTimeouts = { returnTimeoutMs: 30 * 86_400_000 };

const isOverdue = ({ overdue }: ReturnData): boolean => overdue === true;
const isWorthMoney = ({ refund }: ReturnData): boolean => refund.amountMinor > 0;

/**
 * A return, from the claim on its lines (which the command that starts it makes): have the goods brought back, book
 * them in, pay back what was paid for them. The pivot is their arrival: before it a return that does not come expires,
 * after it the customer gets the money.
 */
export function returnSaga(timeouts: ReturnTimeouts = returnTimeouts) {
  return defineSaga<ReturnData, ReturnActions>(
    {
      name: 'return',
      version: 1,
      onCompleted: (data, actions) => actions.complete(data),
      onCompensated: (data, actions, reason) => actions.close(data, reason),
    },
    [
      command('fetch', CreateReturnShipment, {
        send: ({ returnId, orderId, shipFrom, lines }) => ({
          returnId,
          orderId,
          shipFrom,
          lines: lines.map(({ sku, quantity }) => ({ sku, quantity })),
        }),
        timeoutMs: 30_000,
        compensate: {
          command: CancelReturnShipment,
          // Overdue, it is withdrawn already.
          send: ({ returnId, orderId, overdue }) =>
            overdue === true ? undefined : { returnId, orderId, reason: 'return given up' },
        },
      }),
      waitFor('arrived', ReturnReceived, {
        timeoutMs: timeouts.returnTimeoutMs,
        onTimeout: (data) => ({ ...data, overdue: true }),
      }),
      // The parcel and the time-out may cross: who was first is decided where parcels are.
      command('withdraw', CancelReturnShipment, {
        when: isOverdue,
        send: ({ returnId, orderId }) => ({ returnId, orderId, reason: 'not received in time' }),
        timeoutMs: 30_000,
        retries: 5,
        onReply: () => abort('expired', 'the goods did not come back in time'),
        onRefused: { AlreadyReceived: (data) => ({ ...data, overdue: false }) },
      }),
      local('receive', {
        pivot: true,
        run: async (data, actions) => {
          await actions.receive(data);
          return data;
        },
      }),
      command('restock', ReceiveReturn, {
        send: ({ orderId, returnId, lines }) => ({
          orderId,
          returnKey: returnId,
          lines: lines.map(({ sku, quantity, damaged }) => ({ sku, quantity, damaged })),
        }),
        timeoutMs: 30_000,
        retries: 5,
      }),
      command('refund', RefundPayment, {
        when: isWorthMoney,
        send: ({ orderId, returnId, refund }) => ({
          orderId,
          refundKey: returnId,
          amount: refund,
          reason: 'goods returned',
        }),
        timeoutMs: 60_000,
        retries: 5,
      }),
    ],
  );
}
