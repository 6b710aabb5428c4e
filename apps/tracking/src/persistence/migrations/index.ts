import { CreateOrderViews1700000000001 } from './create-order-views.ts';
import { CreateReturnViews1700000000002 } from './create-return-views.ts';

/** In the order in which they run; a migration that has run anywhere is never changed. */
export const trackingMigrations = [CreateOrderViews1700000000001, CreateReturnViews1700000000002];
