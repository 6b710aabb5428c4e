import type { Address } from '@flotilla/contracts-shipping';

/** What the carrier says when it books a parcel. */
export interface Booking {
  readonly trackingNumber: string;
  /** When the parcel is going to be collected. */
  readonly collectAt: Date;
  /**
   * Whether the carrier has to be asked what became of each step of this parcel. Else it goes by its timetable:
   * collected and delivered when it was going to be.
   */
  readonly checked: boolean;
}

/** What the carrier says when it books a parcel from a customer. */
export interface ReturnBooking {
  readonly trackingNumber: string;
  /** When the parcel is going to be here; undefined: that is not known. */
  readonly receiveAt: Date | undefined;
}

/** A checked parcel whose next step is due. */
export interface DueParcel {
  readonly shipmentId: string;
  readonly shipTo: Address;
  readonly step: 'collect' | 'deliver';
  /** How often this step was tried, this time included. */
  readonly attempt: number;
}

/** What became of a step: it can be tried again after `failed`, and not after `lost`. */
export type StepOutcome =
  { readonly outcome: 'done' } | { readonly outcome: 'failed' | 'lost'; readonly reason: string };

/**
 * The company that brings the parcels. It answers from what it knows, without a network call, so it may be asked in
 * a unit of work. An abstract class, so that it is its own injection token.
 */
export abstract class Carrier {
  /** Asked again for the same shipment, the tracking number is the same. */
  abstract book(shipmentId: string, shipTo: Address, now: Date): Booking;

  /** Books a parcel that the customer sends back. */
  abstract bookReturn(shipmentId: string, shipFrom: Address, now: Date): ReturnBooking;

  /** What became of the step of a checked parcel. */
  abstract outcomeOf(parcel: DueParcel): StepOutcome;

  /** When a parcel that was collected at this moment is going to be with the customer, or back here. */
  abstract deliverAt(collectedAt: Date): Date;
}
