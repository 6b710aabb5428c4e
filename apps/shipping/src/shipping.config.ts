import { defineConfig, setting } from '@flotilla/service/config';
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
  returnDelayMs: setting({
    env: 'SHIPPING_RETURN_DELAY_MS',
    schema: milliseconds,
    default: 0,
    doc: 'how long goods take to come back from a customer with the simulated carrier, milliseconds',
  }),
  attempts: setting({
    env: 'SHIPPING_ATTEMPTS',
    schema: z.coerce.number().int().min(1).max(100),
    default: 3,
    doc: 'how often the carrier is asked to collect a parcel, and again to deliver it, before the order is given up; more brings some to their customers, fewer gives these their money back sooner',
  }),
  retryInitialMs: setting({
    env: 'SHIPPING_RETRY_INITIAL_MS',
    schema: z.coerce.number().int().positive(),
    default: 2_000,
    doc: 'the pause before the second attempt, milliseconds; it doubles from there',
  }),
  retryMaxMs: setting({
    env: 'SHIPPING_RETRY_MAX_MS',
    schema: z.coerce.number().int().positive(),
    default: 86_400_000,
    doc: 'the longest pause between attempts, milliseconds',
  }),
  batchSize: setting({
    env: 'SHIPPING_BATCH_SIZE',
    schema: z.coerce.number().int().min(1).max(5_000),
    default: 250,
    doc: 'shipments that change their state in one transaction at most; more saves commits, less lets replicas share a rush',
  }),
}) {}
