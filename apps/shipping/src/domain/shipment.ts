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

/** The carrier never took it. */
export interface FailedShipment extends Identity {
  readonly status: 'failed';
  readonly trackingNumber: string;
  readonly reason: string;
}

/** It could not be delivered and is on its way back, or back, or nobody knows where it is. */
export interface UndeliveredShipment extends Identity {
  readonly status: 'returning' | 'returned' | 'lost';
  readonly trackingNumber: string;
  readonly dispatchedAt: Date;
  readonly reason: string;
}

export type Shipment =
  | CreatedShipment
  | DispatchedShipment
  | DeliveredShipment
  | CancelledShipment
  | ForestalledShipment
  | FailedShipment
  | UndeliveredShipment;

export type ShipmentState = Shipment['status'];

/**
 * The one state from which a shipment gets to each other one; created and forestalled are beginnings. The carrier
 * job moves many shipments per statement by the same table.
 */
export const predecessor = {
  dispatched: 'created',
  delivered: 'dispatched',
  cancelled: 'created',
  failed: 'created',
  returning: 'dispatched',
  lost: 'dispatched',
  returned: 'returning',
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

/** What became of a step that the carrier was asked about. */
export type CarrierWord =
  { readonly outcome: 'done' } | { readonly outcome: 'failed' | 'lost'; readonly reason: string };

/** What a shipment does next. */
export type NextMove =
  | { readonly move: 'dispatched' | 'delivered' | 'returned' }
  | { readonly move: 'again' | 'failed' | 'returning' | 'lost'; readonly reason: string };

/**
 * What follows from the carrier's word about attempt number `attempt` (1 is the first): a step that failed is tried
 * again up to `maxAttempts` times; then what was never collected has failed, and what cannot be delivered comes back.
 */
export function nextMove(
  status: 'created' | 'dispatched' | 'returning',
  word: CarrierWord,
  attempt: number,
  maxAttempts: number,
): NextMove {
  // It comes back as surely as it left; how long that takes is all that the carrier says.
  if (status === 'returning') return { move: 'returned' };
  if (word.outcome === 'done') return { move: status === 'created' ? 'dispatched' : 'delivered' };
  const { reason } = word;
  // What was not collected is still here, whatever the carrier says.
  if (word.outcome === 'lost' && status === 'dispatched') return { move: 'lost', reason };
  if (attempt < maxAttempts) return { move: 'again', reason };
  return { move: status === 'created' ? 'failed' : 'returning', reason };
}
