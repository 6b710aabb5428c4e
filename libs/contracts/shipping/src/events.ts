import { defineEvent } from '@flotilla/contracts-protocol';
import { z } from 'zod';

const shipment = z.object({ shipmentId: z.uuid(), orderId: z.uuid() });
const byOrder = (payload: { orderId: string }): string => payload.orderId;

/** The carrier took the parcel: from here on the order cannot be cancelled. */
export class ShipmentDispatched extends defineEvent({
  owner: 'shipping',
  name: 'ShipmentDispatched',
  version: 1,
  payload: shipment.extend({ trackingNumber: z.string(), dispatchedAt: z.iso.datetime() }),
  aggregate: byOrder,
}) {}

/** The parcel reached the customer. */
export class ShipmentDelivered extends defineEvent({
  owner: 'shipping',
  name: 'ShipmentDelivered',
  version: 1,
  payload: shipment.extend({ deliveredAt: z.iso.datetime() }),
  aggregate: byOrder,
}) {}

/** The shipment was stopped before it left. */
export class ShipmentCancelled extends defineEvent({
  owner: 'shipping',
  name: 'ShipmentCancelled',
  version: 1,
  payload: shipment.extend({ reason: z.string() }),
  aggregate: byOrder,
}) {}

/** The carrier did not take the parcel, however often it was asked: it never left. */
export class ShipmentFailed extends defineEvent({
  owner: 'shipping',
  name: 'ShipmentFailed',
  version: 1,
  payload: shipment.extend({ reason: z.string(), attempts: z.int().positive() }),
  aggregate: byOrder,
}) {}

/** The parcel could not be delivered and is back in the warehouse. */
export class ShipmentReturned extends defineEvent({
  owner: 'shipping',
  name: 'ShipmentReturned',
  version: 1,
  payload: shipment.extend({
    reason: z.string(),
    attempts: z.int().positive(),
    returnedAt: z.iso.datetime(),
  }),
  aggregate: byOrder,
}) {}

/** The carrier does not know where the parcel is. */
export class ShipmentLost extends defineEvent({
  owner: 'shipping',
  name: 'ShipmentLost',
  version: 1,
  payload: shipment.extend({ reason: z.string() }),
  aggregate: byOrder,
}) {}

/** Goods that a customer sent back are in the warehouse. */
export class ReturnReceived extends defineEvent({
  owner: 'shipping',
  name: 'ReturnReceived',
  version: 1,
  payload: shipment.extend({ returnId: z.uuid(), receivedAt: z.iso.datetime() }),
  aggregate: (payload) => payload.returnId,
}) {}
