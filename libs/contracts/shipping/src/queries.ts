import { defineQuery } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { shipmentStatus } from './shipment.ts';

/** The shipment of an order. */
export class GetShipment extends defineQuery({
  owner: 'shipping',
  name: 'GetShipment',
  version: 1,
  payload: z.object({ orderId: z.uuid() }),
  reply: z.object({
    shipmentId: z.uuid(),
    orderId: z.uuid(),
    status: shipmentStatus,
    trackingNumber: z.string().optional(),
    dispatchedAt: z.iso.datetime().optional(),
    deliveredAt: z.iso.datetime().optional(),
    /** Why it did not leave or arrive. */
    reason: z.string().optional(),
  }),
  errors: { ShipmentNotFound: z.object({ orderId: z.uuid() }) },
}) {}
