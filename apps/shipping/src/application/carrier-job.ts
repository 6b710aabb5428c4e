import {
  ReturnReceived,
  ShipmentDelivered,
  ShipmentDispatched,
  ShipmentFailed,
  ShipmentLost,
  ShipmentReturned,
} from '@flotilla/contracts-shipping';
import { backoffDelayMs, type Clock } from '@flotilla/kernel';
import { continueFrom } from '@flotilla/observability';
import { currentUnitOfWork, UnitOfWork } from '@flotilla/persistence';
import { CLOCK, Jobs } from '@flotilla/service';
import { Inject, Injectable, type OnModuleInit } from '@nestjs/common';
import { EventBus, type IEvent } from '@nestjs/cqrs';
import { Carrier } from '../carrier/carrier.ts';
import { nextMove, type NextMove } from '../domain/shipment.ts';
import { ReturnParcels } from '../persistence/return-parcels.ts';
import { Shipments, type CheckedShipment } from '../persistence/shipments.ts';
import { ShippingConfig } from '../shipping.config.ts';

const JOB = 'carrier';

/** The longest rest, ms: finds what another process created and died before it could wake its job. */
const INTERVAL_MS = 5_000;

/** Moves shipments on when the carrier would: each change of state is one statement for many shipments. */
@Injectable()
export class CarrierJob implements OnModuleInit {
  constructor(
    private readonly jobs: Jobs,
    private readonly unitOfWork: UnitOfWork,
    private readonly shipments: Shipments,
    private readonly returns: ReturnParcels,
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
    const { more, nextDue } = await this.unitOfWork.run(async () => {
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
      return { more, nextDue: more ? undefined : await this.shipments.nextDue() };
    });
    if (nextDue?.plain) this.#wakeAt(nextDue.plain);
    if (!nextDue?.other) return more;
    if (nextDue.other <= now) return this.#moveOthers();
    this.#wakeAt(nextDue.other);
    return more;
  }

  /**
   * What is rare, so that it costs nothing where it does not happen: asks the carrier about parcels that it has trouble
   * with, and takes in what customers send back. True: there may be more.
   */
  async #moveOthers(): Promise<boolean> {
    const { batchSize } = this.config;
    return this.unitOfWork.run(async () => {
      const now = new Date(this.clock.now());
      const received = await this.returns.receiveDue(now, batchSize);
      const receivedAt = now.toISOString();
      for (const { id: shipmentId, orderId, returnId, origin } of received) {
        const event = new ReturnReceived({ shipmentId, orderId, returnId, receivedAt });
        continueFrom(origin ?? undefined, 'receive return', () => void this.events.publish(event));
      }
      const checked = await this.shipments.claimChecked(now, batchSize);
      for (const shipment of checked) await this.#ask(shipment, now);
      // What was moved, or tried in vain, may have another step ahead: when, the next run finds out.
      return received.length + checked.length > 0;
    });
  }

  async #ask(shipment: CheckedShipment, now: Date): Promise<void> {
    const { id: shipmentId, status, shipTo, origin } = shipment;
    const attempt = shipment.attempts + 1;
    const word = this.carrier.outcomeOf({
      shipmentId,
      shipTo,
      step: status === 'created' ? 'collect' : 'deliver',
      attempt,
    });
    const next = nextMove(status, word, attempt, this.config.attempts);
    const dueAt = next.move === 'again' ? this.#againAt(now, attempt) : this.carrier.deliverAt(now);
    await this.shipments.moveChecked(shipment, next, now, dueAt);
    const event = eventOf(shipment, next, attempt, now.toISOString());
    if (event) {
      continueFrom(origin ?? undefined, `shipment ${next.move}`, () => void this.events.publish(event));
    }
  }

  #againAt(now: Date, attempt: number): Date {
    const { retryInitialMs, retryMaxMs } = this.config;
    const delayMs = backoffDelayMs(attempt, { initialMs: retryInitialMs, maxMs: retryMaxMs });
    return new Date(now.getTime() + delayMs);
  }

  #wakeAt(dueAt: Date): void {
    this.jobs.wake(JOB, Math.max(0, dueAt.getTime() - this.clock.now()));
  }
}

/** What others hear of a step; nothing of one that is tried again, or of a parcel that is only on its way back. */
function eventOf(
  { id: shipmentId, orderId, trackingNumber, trouble, attempts: triedBefore }: CheckedShipment,
  next: NextMove,
  attempts: number,
  at: string,
): IEvent | undefined {
  const shipment = { shipmentId, orderId };
  switch (next.move) {
    case 'dispatched':
      return new ShipmentDispatched({ ...shipment, trackingNumber, dispatchedAt: at });
    case 'delivered':
      return new ShipmentDelivered({ ...shipment, deliveredAt: at });
    case 'failed':
      return new ShipmentFailed({ ...shipment, reason: next.reason, attempts });
    case 'lost':
      return new ShipmentLost({ ...shipment, reason: next.reason });
    case 'returned':
      return new ShipmentReturned({
        ...shipment,
        reason: trouble ?? '',
        attempts: triedBefore,
        returnedAt: at,
      });
    case 'again':
    case 'returning':
      return undefined;
  }
}
