export { CancelShipment, CreateShipment } from './commands.ts';
export { GetShipment } from './queries.ts';
export { ShipmentCancelled, ShipmentDelivered, ShipmentDispatched } from './events.ts';
export { address, shipmentStatus, type Address, type ShipmentStatus } from './shipment.ts';
