import { defineService } from '@flotilla/contracts-protocol';
import {
  CancelReturnShipment,
  CancelShipment,
  CreateReturnShipment,
  CreateShipment,
  GetShipment,
  ReturnReceived,
  ShipmentCancelled,
  ShipmentDelivered,
  ShipmentDispatched,
  ShipmentFailed,
  ShipmentLost,
  ShipmentReturned,
} from '@flotilla/contracts-shipping';

/** Hands orders to the carrier and says how far their shipments are. */
export const shippingService = defineService({
  name: 'shipping',
  handles: [CreateShipment, CancelShipment, CreateReturnShipment, CancelReturnShipment, GetShipment],
  publishes: [
    ShipmentDispatched,
    ShipmentDelivered,
    ShipmentCancelled,
    ShipmentFailed,
    ShipmentReturned,
    ShipmentLost,
    ReturnReceived,
  ],
});
