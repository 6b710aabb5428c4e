/** What the carrier says when it books a parcel. */
export interface Booking {
  readonly trackingNumber: string;
  /** When the parcel is going to be collected. */
  readonly collectAt: Date;
}

/**
 * The company that brings the parcels. It answers from what it knows, without a network call, so it may be asked in
 * a unit of work. An abstract class, so that it is its own injection token.
 */
export abstract class Carrier {
  /** Asked again for the same shipment, the tracking number is the same. */
  abstract book(shipmentId: string, now: Date): Booking;

  /** When a parcel that was collected at this moment is going to be with the customer. */
  abstract deliverAt(collectedAt: Date): Date;
}
