import { currencyCode } from '@flotilla/contracts-money';
import { defineCommand } from '@flotilla/contracts-protocol';
import { address } from '@flotilla/contracts-shipping';
import { z } from 'zod';
import { orderStatus, returnStatus } from './order.ts';

const orderId = z.uuid();
/** The version of the order after the command, for readers that want to see no older one. */
const orderVersion = z.int().positive().optional();
const byOrder = (payload: { orderId: string }): string => payload.orderId;

/** Places an order. It is priced from the catalogue as the orders service knows it, or at the agreed prices. */
export class PlaceOrder extends defineCommand({
  owner: 'orders',
  name: 'PlaceOrder',
  version: 1,
  payload: z.object({
    orderId,
    customerId: z.string().min(1).max(100),
    /** Where messages about the order go. */
    email: z.email().max(254).optional(),
    lines: z
      .array(
        z.object({
          sku: z.string().min(1).max(64),
          quantity: z.int().positive().max(1_000_000),
          /** An agreed price per piece, in minor units; without it the list price holds. */
          unitPriceMinor: z.int().nonnegative().max(1_000_000_000).optional(),
        }),
      )
      .min(1)
      .max(1_000),
    /** The currency of the agreed prices; without any, the products' own holds. */
    currency: currencyCode.optional(),
    /** A payment token of the provider; never card data. */
    paymentToken: z.string().min(1).max(200),
    shipTo: address,
    /** The caller's own number for it, for example an invoice number. */
    reference: z.string().max(100).optional(),
  }),
  reply: z.object({ orderId, status: orderStatus, version: orderVersion }),
  errors: {
    UnknownProduct: z.object({ skus: z.array(z.string()) }),
    /** All lines of one order are in one currency. */
    MixedCurrencies: z.object({ currencies: z.array(z.string()) }),
    /** The sum does not fit a safe integer of minor units. */
    TotalTooLarge: z.object({}),
    /** There is another order with this id. */
    OrderExists: z.object({ orderId }),
  },
  key: byOrder,
}) {}

/** Cancels an order on the customer's wish, as long as it has not been shipped. */
export class CancelOrder extends defineCommand({
  owner: 'orders',
  name: 'CancelOrder',
  version: 1,
  payload: z.object({ orderId, reason: z.string().max(200).default('customer request') }),
  reply: z.object({ orderId, status: orderStatus, version: orderVersion }),
  errors: {
    OrderNotFound: z.object({ orderId }),
    NotCancellable: z.object({ status: orderStatus, why: z.string() }),
  },
  key: byOrder,
}) {}

/** A person's word on an order that awaits review. */
export class DecideReview extends defineCommand({
  owner: 'orders',
  name: 'DecideReview',
  version: 1,
  payload: z.object({
    orderId,
    decision: z.enum(['approve', 'reject']),
    reviewer: z.string().min(1).max(100),
  }),
  reply: z.object({ orderId, decision: z.enum(['approve', 'reject']), version: orderVersion }),
  errors: {
    OrderNotFound: z.object({ orderId }),
    NotAwaitingReview: z.object({ status: orderStatus }),
  },
  key: byOrder,
}) {}

/**
 * Sends goods of a completed order back. What is asked for is claimed at once: of every line, no more can be in return
 * than was delivered. The money follows when the goods have arrived: what was paid for exactly these pieces.
 */
export class RequestReturn extends defineCommand({
  owner: 'orders',
  name: 'RequestReturn',
  version: 1,
  payload: z.object({
    orderId,
    /** The caller chooses it. */
    returnId: z.uuid(),
    lines: z
      .array(
        z.object({
          sku: z.string().min(1).max(64),
          quantity: z.int().positive().max(1_000_000),
          damaged: z.boolean().default(false),
        }),
      )
      .min(1)
      .max(1_000),
    reason: z.string().max(200).optional(),
  }),
  reply: z.object({ orderId, returnId: z.uuid(), status: returnStatus }),
  errors: {
    OrderNotFound: z.object({ orderId }),
    NotReturnable: z.object({
      /** `exceeds_delivered`: more than was delivered and is not returned or in return already. */
      reason: z.enum(['not_completed', 'unknown_line', 'charge_line', 'exceeds_delivered']),
      status: orderStatus,
      /** The lines concerned, with how many pieces can still be returned. */
      lines: z.array(z.object({ sku: z.string(), requested: z.int(), returnable: z.int() })),
    }),
    /** There is another return with this id. */
    ReturnExists: z.object({ returnId: z.uuid() }),
  },
  key: byOrder,
}) {}
