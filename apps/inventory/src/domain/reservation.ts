import { FlotillaError } from '@flotilla/kernel';
import type { Line } from './lines.ts';

/**
 * What an order holds of the stock. `released` and `shipped` are final; a `released` without lines is the mark of
 * an order that was released before it had reserved anything.
 */
export type Reservation =
  | { readonly state: 'reserved'; readonly lines: readonly Line[] }
  | { readonly state: 'released'; readonly lines: readonly Line[] }
  | { readonly state: 'shipped'; readonly lines: readonly Line[] };

/** Whether an order may reserve; `already-reserved` is the answer to the same question asked twice. */
export function decideReserve(
  before: Reservation['state'] | undefined,
): 'reserve' | 'already-reserved' | 'already-released' {
  switch (before) {
    case undefined:
      return 'reserve';
    case 'reserved':
    case 'shipped':
      return 'already-reserved';
    case 'released':
      return 'already-released';
  }
}

/** What releasing an order means: give `lines` back, or only remember the release, or nothing more to do. */
export type ReleaseDecision =
  | { readonly decision: 'give-back'; readonly lines: readonly Line[] }
  | { readonly decision: 'remember' }
  | { readonly decision: 'already-released'; readonly hadLines: boolean }
  | { readonly decision: 'already-shipped' };

export function decideRelease(before: Reservation | undefined): ReleaseDecision {
  switch (before?.state) {
    case undefined:
      return { decision: 'remember' };
    case 'reserved':
      return { decision: 'give-back', lines: before.lines };
    case 'released':
      return { decision: 'already-released', hadLines: before.lines.length > 0 };
    case 'shipped':
      return { decision: 'already-shipped' };
  }
}

/**
 * What a dispatched parcel means for its order's reservation. Throws {@link UnreservedDispatchError} when goods
 * left that nobody holds: stock and reality differ, and only a person can say which is right.
 */
export function decideShip(
  orderId: string,
  before: Reservation | undefined,
): { readonly decision: 'ship'; readonly lines: readonly Line[] } | { readonly decision: 'already-shipped' } {
  switch (before?.state) {
    case 'reserved':
      return { decision: 'ship', lines: before.lines };
    case 'shipped':
      return { decision: 'already-shipped' };
    case 'released':
      throw new UnreservedDispatchError(orderId, 'released');
    case undefined:
      throw new UnreservedDispatchError(orderId, 'missing');
  }
}

/**
 * Thrown when a parcel was dispatched for an order whose reservation is not there to be shipped. A `released` one
 * never comes back, so the event goes to the dead letters at once; a `missing` one may still arrive (after a
 * restore, commands are delivered again in any order), so the event waits for it first.
 */
export class UnreservedDispatchError extends FlotillaError {
  readonly orderId: string;
  readonly reservation: 'released' | 'missing';

  constructor(orderId: string, reservation: 'released' | 'missing') {
    super(
      'UNRESERVED_DISPATCH',
      reservation === 'released'
        ? `Order ${orderId} was dispatched, but its reservation was released (released -> shipped is refused): stop the parcel or book the stock again`
        : `Order ${orderId} was dispatched, but it never reserved stock: check its shipment`,
      { retry: reservation === 'released' ? 'never' : 'not-yet' },
    );
    this.orderId = orderId;
    this.reservation = reservation;
  }
}
