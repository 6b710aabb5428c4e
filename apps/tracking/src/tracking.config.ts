import { defineConfig, setting } from '@flotilla/service/config';
import { z } from 'zod';

export class TrackingConfig extends defineConfig({
  consistencyWaitMs: setting({
    env: 'TRACKING_CONSISTENCY_WAIT_MS',
    schema: z.coerce.number().int().min(0).max(60_000),
    default: 2_000,
    doc: 'how long a reader that asks for its own write is kept waiting for it, milliseconds; longer holds requests while the views are behind, shorter sends callers away to ask again',
  }),
}) {}
