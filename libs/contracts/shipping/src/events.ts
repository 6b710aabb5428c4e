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
