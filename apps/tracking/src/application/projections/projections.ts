import { orderView } from './order-view.ts';
import { paymentView } from './payment-view.ts';
import { returnView } from './return-view.ts';

/** Every view that this service keeps. */
export const projections = [orderView, paymentView, returnView];
