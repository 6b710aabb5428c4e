import { defineCommand } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { address } from './shipment.ts';

const orderId = z.uuid();
const parcelLines = z
  .array(z.object({ sku: z.string(), quantity: z.int().positive() }))
  .min(1)
  .max(1_000);
const byOrder = (payload: { orderId: string }): string => payload.orderId;

/** Hands an order to the carrier. One shipment per order: asked again, it answers as before. */
export class CreateShipment extends defineCommand({
  owner: 'shipping',
  name: 'CreateShipment',
  version: 1,
  payload: z.object({
    orderId,
    shipTo: address,
    lines: parcelLines,
  }),
  reply: z.object({ shipmentId: z.uuid() }),
  errors: {
    /** The shipment was cancelled before it was created: the order is gone. */
    AlreadyCancelled: z.object({ orderId }),
  },
  key: byOrder,
}) {}

/**
 * Stops a shipment that has not left yet. Without a shipment it is remembered, so that a late one is refused; one that
 * is lost has nothing left to stop. One that came back is refused until its goods are in stock again: whoever takes it for
 * stopped would leave them out.
 */
export class CancelShipment extends defineCommand({
  owner: 'shipping',
  name: 'CancelShipment',
  version: 1,
  payload: z.object({
    orderId,
    reason: z.string().max(200),
    /** The parcel came back and its goods are in stock again. */
    takenBack: z.boolean().optional(),
  }),
  reply: z.object({ cancelled: z.boolean() }),
  errors: { AlreadyDispatched: z.object({ orderId, dispatchedAt: z.iso.datetime() }) },
  key: byOrder,
}) {}

const returnId = z.uuid();
const byReturn = (payload: { returnId: string }): string => payload.returnId;

/** Has the carrier bring goods back from a customer. One parcel per return: asked again, it answers as before. */
export class CreateReturnShipment extends defineCommand({
  owner: 'shipping',
  name: 'CreateReturnShipment',
  version: 1,
  payload: z.object({ returnId, orderId, shipFrom: address, lines: parcelLines }),
  reply: z.object({ shipmentId: z.uuid(), trackingNumber: z.string() }),
  errors: {
    /** It was cancelled before it was created. */
    AlreadyCancelled: z.object({ returnId }),
  },
  key: byReturn,
}) {}

/** No longer waits for goods from a customer. Without a parcel it is remembered, so that a late one is refused. */
export class CancelReturnShipment extends defineCommand({
  owner: 'shipping',
  name: 'CancelReturnShipment',
  version: 1,
  payload: z.object({ returnId, orderId, reason: z.string().max(200) }),
  reply: z.object({ cancelled: z.boolean() }),
  errors: {
    /** The parcel is here. */
    AlreadyReceived: z.object({ returnId, receivedAt: z.iso.datetime() }),
  },
  key: byReturn,
}) {}
