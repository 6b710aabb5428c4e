import { defineConfig, setting } from '@flotilla/service/config';
import { z } from 'zod';

export class InventoryConfig extends defineConfig({
  // Every order locks nearly all stock, so a second transaction at a time would only wait for the first, and make the
  // groups of both smaller.
  unitOfWorkLanes: setting({
    env: 'UNIT_OF_WORK_LANES',
    schema: z.coerce.number().int().min(1).max(32),
    default: 1,
    doc: 'transactions at a time that handle messages; orders lock most of the stock, so more than one wait for each other',
  }),
  expiryIntervalMs: setting({
    env: 'INVENTORY_EXPIRY_INTERVAL_MS',
    schema: z.coerce.number().int().min(10),
    default: 10_000,
    doc: 'how often reservations whose time is over are looked for, milliseconds; how long they are held is for the orders service to say (ORDERS_RESERVATION_HOLD_MS)',
  }),
}) {}
