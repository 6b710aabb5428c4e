export { CancelReturnShipment, CancelShipment, CreateReturnShipment, CreateShipment } from './commands.ts';
export { GetShipment } from './queries.ts';
export {
  ReturnReceived,
  ShipmentCancelled,
  ShipmentDelivered,
  ShipmentDispatched,
  ShipmentFailed,
  ShipmentLost,
  ShipmentReturned,
} from './events.ts';
export { address, shipmentStatus, type Address, type ShipmentStatus } from './shipment.ts';
