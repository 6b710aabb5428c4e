/** So many pieces of one SKU. */
export interface Line {
  readonly sku: string;
  readonly quantity: number;
}

/** Pieces that came back. */
export interface ReturnedLine extends Line {
  /** Not to be sold again. */
  readonly damaged: boolean;
}

/** The lines with each SKU once, its quantities added up, in the order of SKUs. */
export function sumBySku(lines: readonly Line[]): Line[] {
  const quantities = new Map<string, number>();
  for (const { sku, quantity } of lines) quantities.set(sku, (quantities.get(sku) ?? 0) + quantity);
  return [...quantities]
    .map(([sku, quantity]) => ({ sku, quantity }))
    .sort((a, b) => (a.sku < b.sku ? -1 : 1));
}
