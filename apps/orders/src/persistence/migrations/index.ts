import { CreateOrders1700000000001 } from './create-orders.ts';
import { CreateReturns1700000000002 } from './create-returns.ts';

/** In the order in which they run; a migration that has run anywhere is never changed. */
export const ordersMigrations = [CreateOrders1700000000001, CreateReturns1700000000002];
