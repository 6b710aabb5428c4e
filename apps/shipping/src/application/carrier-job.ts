import { ShipmentDelivered, ShipmentDispatched } from '@flotilla/contracts-shipping';
import type { Clock } from '@flotilla/kernel';
import { continueFrom } from '@flotilla/observability';
import { currentUnitOfWork, UnitOfWork } from '@flotilla/persistence';
import { CLOCK, Jobs } from '@flotilla/service';
import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { EventBus } from '@nestjs/cqrs';
import { Carrier } from '../carrier/carrier.ts';
import { Shipments } from '../persistence/shipments.ts';
import { ShippingConfig } from '../shipping.config.ts';

const JOB = 'carrier';

/** The longest rest, ms: finds what another process created and died before it could wake its job. */
const INTERVAL_MS = 1_000;

/** Moves shipments on when the carrier would: each change of state is one statement for many shipments. */
@Injectable()
export class CarrierJob implements OnModuleInit {
  constructor(
    private readonly jobs: Jobs,
    private readonly unitOfWork: UnitOfWork,
    private readonly shipments: Shipments,
    private readonly carrier: Carrier,
    private readonly events: EventBus,
    private readonly config: ShippingConfig,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  onModuleInit(): void {
    this.jobs.register(JOB, { intervalMs: INTERVAL_MS, run: () => this.run() });
  }

  /** Runs the job when the current unit of work is committed, or at `dueAt` if that is later. */
  wakeAfterCommit(dueAt: Date): void {
    currentUnitOfWork()?.afterCommit(() => this.#wakeAt(dueAt));
  }

  /**
   * Moves what is due, a batch for each change of state, in one unit of work, so that a parcel that needs no time on
   * its way is delivered by the commit that dispatches it. True: there may be more.
   */
  async run(): Promise<boolean> {
    const now = new Date(this.clock.now());
    const { batchSize } = this.config;
    const { more, nextDueAt } = await this.unitOfWork.run(async () => {
      const dispatched = await this.shipments.dispatchDue(now, this.carrier.deliverAt(now), batchSize);
      const delivered = await this.shipments.deliverDue(now, batchSize);
      const at = now.toISOString();
      for (const { id: shipmentId, orderId, trackingNumber, origin } of dispatched) {
        const event = new ShipmentDispatched({ shipmentId, orderId, trackingNumber, dispatchedAt: at });
        continueFrom(origin ?? undefined, 'dispatch shipment', () => void this.events.publish(event));
      }
      for (const { id: shipmentId, orderId, origin } of delivered) {
        const event = new ShipmentDelivered({ shipmentId, orderId, deliveredAt: at });
        continueFrom(origin ?? undefined, 'deliver shipment', () => void this.events.publish(event));
      }
      const more = Math.max(dispatched.length, delivered.length) >= batchSize;
      return { more, nextDueAt: more ? undefined : await this.shipments.nextDueAt() };
    });
    if (nextDueAt) this.#wakeAt(nextDueAt);
    return more;
  }

  #wakeAt(dueAt: Date): void {
    this.jobs.wake(JOB, Math.max(0, dueAt.getTime() - this.clock.now()));
  }
}
