import { FlotillaError } from '@flotilla/kernel';
import { sumBySku, type Line, type ReturnedLine } from './lines.ts';
import type { Reservation } from './reservation.ts';

/** A SKU of which more would come back than left. */
export interface Excess {
  readonly sku: string;
  readonly requested: number;
  /** What left and has not come back. */
  readonly shipped: number;
}

export type ReturnDecision =
  /** `leftUnheard`: the dispatch has still to be booked, and its event finds that done. */
  | { readonly decision: 'take-back'; readonly leftUnheard?: true }
  | { readonly decision: 'already-back'; readonly lines: readonly ReturnedLine[] }
  | { readonly decision: 'not-shipped' }
  | { readonly decision: 'exceeds'; readonly excess: readonly Excess[] };

/**
 * Whether pieces of an order can be booked in again: once per key, and no more than left. What comes back has left,
 * also when its dispatch has not been heard of yet: whoever holds that event may keep it for longer than a command is
 * tried. Throws {@link NotShippedYetError} when not even its reservation is known.
 */
export function decideReturn(
  orderId: string,
  reservation: Reservation | undefined,
  back: ReadonlyMap<string, readonly ReturnedLine[]>,
  returnKey: string,
  lines: readonly Line[],
): ReturnDecision {
  const known = back.get(returnKey);
  if (known) return { decision: 'already-back', lines: known };
  switch (reservation?.state) {
    case 'reserved':
    case 'shipped': {
      const excess = excessOf(reservation.lines, [...back.values()].flat(), lines);
      if (excess.length > 0) return { decision: 'exceeds', excess };
      return { decision: 'take-back', ...(reservation.state === 'reserved' && { leftUnheard: true }) };
    }
    case 'released':
      return { decision: 'not-shipped' };
    case undefined:
      throw new NotShippedYetError(orderId);
  }
}

function excessOf(shipped: readonly Line[], back: readonly Line[], asked: readonly Line[]): Excess[] {
  const left = new Map(sumBySku(shipped).map(({ sku, quantity }) => [sku, quantity]));
  for (const { sku, quantity } of back) left.set(sku, (left.get(sku) ?? 0) - quantity);
  return sumBySku(asked)
    .filter(({ sku, quantity }) => quantity > (left.get(sku) ?? 0))
    .map(({ sku, quantity }) => ({ sku, requested: quantity, shipped: left.get(sku) ?? 0 }));
}

/** Thrown when goods come back of an order that is not known: its reservation may be on its way, so it waits. */
export class NotShippedYetError extends FlotillaError {
  constructor(orderId: string) {
    super(
      'NOT_SHIPPED_YET',
      `Goods of order ${orderId} came back, but inventory knows no reservation of it: check its shipment`,
      { retry: 'not-yet' },
    );
  }
}
