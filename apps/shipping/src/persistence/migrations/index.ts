import { CreateShipments } from './create-shipments.ts';
import { FollowParcels } from './follow-parcels.ts';

/** In the order they run; a migration that has been released never changes. */
export const shippingMigrations = [CreateShipments, FollowParcels];
