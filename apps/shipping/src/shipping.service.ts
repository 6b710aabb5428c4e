import { defineService } from '@flotilla/contracts-protocol';
import {
  CancelShipment,
  CreateShipment,
  GetShipment,
  ShipmentCancelled,
  ShipmentDelivered,
  ShipmentDispatched,
} from '@flotilla/contracts-shipping';

/** Hands orders to the carrier and says how far their shipments are. */
export const shippingService = defineService({
  name: 'shipping',
  handles: [CreateShipment, CancelShipment, GetShipment],
  publishes: [ShipmentDispatched, ShipmentDelivered, ShipmentCancelled],
});
