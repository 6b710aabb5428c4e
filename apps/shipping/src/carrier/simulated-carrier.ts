import type { Address } from '@flotilla/contracts-shipping';
import { Injectable } from '@nestjs/common';
import { ShippingConfig } from '../shipping.config.ts';
import { Carrier, type Booking, type DueParcel, type ReturnBooking, type StepOutcome } from './carrier.ts';

type Trouble = (parcel: DueParcel) => StepOutcome;

const done: StepOutcome = { outcome: 'done' };

/** Recipients to whom, by their exact name, something happens; all others get their parcels. */
const troubles: Readonly<Record<string, Trouble>> = {
  'carrier:late': ({ step, attempt }) =>
    attempt === 1 ? { outcome: 'failed', reason: `the carrier was late to ${step} it` } : done,
  'carrier:no-collection': () => ({ outcome: 'failed', reason: 'the carrier did not collect it' }),
  'carrier:undeliverable': ({ step }) =>
    step === 'collect' ? done : { outcome: 'failed', reason: 'nobody could be found at the address' },
  'carrier:lost': ({ step }) =>
    step === 'collect' ? done : { outcome: 'lost', reason: 'the carrier does not know where it is' },
};

/** Sends goods back that never arrive. */
const RETURN_LOST = 'carrier:return-lost';

/** A carrier that always comes, after the configured delays, unless the recipient's name says otherwise. */
@Injectable()
export class SimulatedCarrier extends Carrier {
  constructor(private readonly config: ShippingConfig) {
    super();
  }

  override book(shipmentId: string, { name }: Address, now: Date): Booking {
    return {
      trackingNumber: trackingNumber('FLT', shipmentId),
      collectAt: new Date(now.getTime() + this.config.dispatchDelayMs),
      checked: Object.hasOwn(troubles, name),
    };
  }

  override bookReturn(shipmentId: string, { name }: Address, now: Date): ReturnBooking {
    return {
      trackingNumber: trackingNumber('FLR', shipmentId),
      receiveAt: name === RETURN_LOST ? undefined : new Date(now.getTime() + this.config.returnDelayMs),
    };
  }

  override outcomeOf(parcel: DueParcel): StepOutcome {
    return troubles[parcel.shipTo.name]?.(parcel) ?? done;
  }

  override deliverAt(collectedAt: Date): Date {
    return new Date(collectedAt.getTime() + this.config.deliveryDelayMs);
  }
}

function trackingNumber(prefix: string, shipmentId: string): string {
  return `${prefix}${shipmentId.replaceAll('-', '').toUpperCase()}`;
}
