import { Injectable } from '@nestjs/common';
import { ShippingConfig } from '../shipping.config.ts';
import { Carrier, type Booking } from './carrier.ts';

/** A carrier that always comes, after the configured delays. */
@Injectable()
export class SimulatedCarrier extends Carrier {
  constructor(private readonly config: ShippingConfig) {
    super();
  }

  override book(shipmentId: string, now: Date): Booking {
    return {
      trackingNumber: `FLT${shipmentId.replaceAll('-', '').toUpperCase()}`,
      collectAt: new Date(now.getTime() + this.config.dispatchDelayMs),
    };
  }

  override deliverAt(collectedAt: Date): Date {
    return new Date(collectedAt.getTime() + this.config.deliveryDelayMs);
  }
}
