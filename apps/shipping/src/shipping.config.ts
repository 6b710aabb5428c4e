import { defineConfig, setting } from '@flotilla/service';
import { z } from 'zod';

const milliseconds = z.coerce.number().int().nonnegative();

/** The settings of the shipping service. */
export class ShippingConfig extends defineConfig({
  dispatchDelayMs: setting({
    env: 'SHIPPING_DISPATCH_DELAY_MS',
    schema: milliseconds,
    default: 0,
    doc: 'how long the simulated carrier takes to collect a parcel, milliseconds; until then the order can be cancelled',
  }),
  deliveryDelayMs: setting({
    env: 'SHIPPING_DELIVERY_DELAY_MS',
    schema: milliseconds,
    default: 0,
    doc: 'how long the simulated carrier is on its way with a parcel, milliseconds; until then the order is not completed',
  }),
  batchSize: setting({
    env: 'SHIPPING_BATCH_SIZE',
    schema: z.coerce.number().int().min(1).max(5_000),
    default: 250,
    doc: 'shipments that change their state in one transaction at most; more saves commits, less lets replicas share a rush',
  }),
}) {}
