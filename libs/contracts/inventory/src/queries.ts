import { defineQuery } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { stockLevels } from './stock.ts';

/** Where the pieces of one SKU are. */
export class GetStock extends defineQuery({
  owner: 'inventory',
  name: 'GetStock',
  version: 1,
  payload: z.object({ sku: z.string().min(1).max(64) }),
  reply: stockLevels,
  errors: { SkuNotFound: z.object({ sku: z.string() }) },
}) {}
