/** A line of the order, as it was priced when it was placed. */
export interface DeliveredLine {
  readonly sku: string;
  readonly kind: 'stocked' | 'charge';
  readonly quantity: number;
  readonly unitPriceMinor: number;
}

/** Pieces of one line that are, or were, on their way back. */
export interface ClaimedLine {
  readonly sku: string;
  readonly quantity: number;
  readonly unitPriceMinor: number;
  readonly damaged: boolean;
}

export interface AskedLine {
  readonly sku: string;
  readonly quantity: number;
  readonly damaged: boolean;
}

/** A line that cannot be returned as asked, and how much of it can. */
export interface RefusedLine {
  readonly sku: string;
  readonly requested: number;
  readonly returnable: number;
}

export type Claim =
  | { readonly outcome: 'claimed'; readonly lines: readonly ClaimedLine[]; readonly refundMinor: number }
  | {
      readonly outcome: 'refused';
      readonly reason: 'unknown_line' | 'charge_line' | 'exceeds_delivered';
      readonly lines: readonly RefusedLine[];
    };

/**
 * Claims pieces of an order's lines for a return. `claimed` is what all returns of the order that are under way or done
 * have claimed. Where one SKU was bought at several prices, the pieces are taken from the lines as they stand in the
 * order. The refund is the sum of pieces times the price that was paid for them: whole minor units, nothing is rounded.
 */
export function claimReturn(
  delivered: readonly DeliveredLine[],
  claimed: readonly ClaimedLine[],
  asked: readonly AskedLine[],
): Claim {
  const requested = sumBySku(asked);
  const left = piecesLeft(delivered, claimed);
  const refused = (
    reason: Extract<Claim, { outcome: 'refused' }>['reason'],
    concerns: (sku: string, quantity: number) => boolean,
  ): Claim | undefined => {
    const lines = [...requested]
      .filter(([sku, quantity]) => concerns(sku, quantity))
      .map(([sku, quantity]) => ({ sku, requested: quantity, returnable: returnableOf(left, sku) }));
    return lines.length > 0 ? { outcome: 'refused', reason, lines } : undefined;
  };
  const kinds = Map.groupBy(delivered, ({ sku }) => sku);
  const refusal =
    refused('unknown_line', (sku) => !kinds.has(sku)) ??
    refused('charge_line', (sku) => kinds.get(sku)?.every(({ kind }) => kind === 'charge') === true) ??
    refused('exceeds_delivered', (sku, quantity) => quantity > returnableOf(left, sku));
  if (refusal) return refusal;

  const lines: ClaimedLine[] = [];
  for (const { sku, quantity, damaged } of asked) {
    let open = quantity;
    for (const bought of left.get(sku) ?? []) {
      const taken = Math.min(open, bought.pieces);
      if (taken === 0) continue;
      bought.pieces -= taken;
      open -= taken;
      lines.push({ sku, quantity: taken, unitPriceMinor: bought.unitPriceMinor, damaged });
    }
  }
  const refundMinor = lines.reduce((sum, line) => sum + line.quantity * line.unitPriceMinor, 0);
  return { outcome: 'claimed', lines: merged(lines), refundMinor };
}

interface Bought {
  readonly unitPriceMinor: number;
  /** Not claimed yet. */
  pieces: number;
}

/** Of each SKU with goods, the prices it was bought at, in the order of the lines, with what is left at each. */
function piecesLeft(
  delivered: readonly DeliveredLine[],
  claimed: readonly ClaimedLine[],
): Map<string, Bought[]> {
  const left = new Map<string, Bought[]>();
  const at = (sku: string, unitPriceMinor: number): Bought | undefined =>
    left.get(sku)?.find((bought) => bought.unitPriceMinor === unitPriceMinor);
  for (const { sku, kind, quantity, unitPriceMinor } of delivered) {
    if (kind !== 'stocked') continue;
    const bought = at(sku, unitPriceMinor);
    if (bought) bought.pieces += quantity;
    else left.set(sku, [...(left.get(sku) ?? []), { unitPriceMinor, pieces: quantity }]);
  }
  for (const { sku, quantity, unitPriceMinor } of claimed) {
    const bought = at(sku, unitPriceMinor);
    if (bought) bought.pieces -= quantity;
  }
  return left;
}

function returnableOf(left: ReadonlyMap<string, readonly Bought[]>, sku: string): number {
  return (left.get(sku) ?? []).reduce((sum, { pieces }) => sum + pieces, 0);
}

function sumBySku(lines: readonly AskedLine[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const { sku, quantity } of lines) sums.set(sku, (sums.get(sku) ?? 0) + quantity);
  return sums;
}

/** The same SKU at the same price in the same condition is one line. */
function merged(lines: readonly ClaimedLine[]): ClaimedLine[] {
  const byLine = new Map<string, ClaimedLine>();
  for (const line of lines) {
    const key = JSON.stringify([line.sku, line.unitPriceMinor, line.damaged]);
    byLine.set(key, { ...line, quantity: line.quantity + (byLine.get(key)?.quantity ?? 0) });
  }
  return [...byLine.values()];
}
