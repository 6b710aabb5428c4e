import { FlotillaError } from '@flotilla/kernel';

interface Identity {
  readonly id: string;
  readonly orderId: string;
}

/** Booked with the carrier; it can still be stopped. */
export interface CreatedShipment extends Identity {
  readonly status: 'created';
  readonly trackingNumber: string;
}

/** With the carrier. */
export interface DispatchedShipment extends Identity {
  readonly status: 'dispatched';
  readonly trackingNumber: string;
  readonly dispatchedAt: Date;
}

/** With the customer. */
export interface DeliveredShipment extends Identity {
  readonly status: 'delivered';
  readonly trackingNumber: string;
  readonly dispatchedAt: Date;
  readonly deliveredAt: Date;
}

/** Stopped before it left. */
export interface CancelledShipment extends Identity {
  readonly status: 'cancelled';
  readonly trackingNumber: string;
}

/** Cancelled before it was created: it never will be. */
export interface ForestalledShipment extends Identity {
  readonly status: 'forestalled';
}

export type Shipment =
  CreatedShipment | DispatchedShipment | DeliveredShipment | CancelledShipment | ForestalledShipment;

export type ShipmentState = Shipment['status'];

/**
 * The one state from which a shipment gets to each other one; created and forestalled are beginnings. The carrier
 * job moves many shipments per statement by the same table.
 */
export const predecessor = {
  dispatched: 'created',
  delivered: 'dispatched',
  cancelled: 'created',
} as const satisfies Partial<Record<ShipmentState, ShipmentState>>;

/** Thrown when a shipment is asked for a state that cannot follow its own. Code `SHIPMENT_TRANSITION_REFUSED`. */
export class ShipmentTransitionError extends FlotillaError {
  readonly from: ShipmentState;
  readonly to: ShipmentState;

  constructor(shipment: Shipment, to: ShipmentState) {
    super(
      'SHIPMENT_TRANSITION_REFUSED',
      `Shipment ${shipment.id} of order ${shipment.orderId} cannot go from ${shipment.status} to ${to}`,
      { retry: 'never' },
    );
    this.from = shipment.status;
    this.to = to;
  }
}

/** The parcel stays. Throws {@link ShipmentTransitionError} if it has left, or was cancelled before. */
export function cancel(shipment: Shipment): CancelledShipment {
  if (shipment.status !== predecessor.cancelled) throw new ShipmentTransitionError(shipment, 'cancelled');
  return { ...shipment, status: 'cancelled' };
}
