/** What the orders service knows of a product. */
export interface KnownProduct {
  readonly sku: string;
  readonly name: string;
  readonly kind: 'stocked' | 'charge';
  readonly priceMinor: number;
  readonly currency: string;
}

export interface RequestedLine {
  readonly sku: string;
  readonly quantity: number;
  /** An agreed price per piece, in minor units. */
  readonly unitPriceMinor?: number | undefined;
}

export interface PricedLine {
  readonly sku: string;
  readonly name: string;
  readonly kind: 'stocked' | 'charge';
  readonly quantity: number;
  readonly unitPriceMinor: number;
}

export type Pricing =
  | {
      readonly outcome: 'priced';
      readonly lines: readonly PricedLine[];
      readonly totalMinor: number;
      readonly currency: string;
    }
  | { readonly outcome: 'unknown-products'; readonly skus: readonly string[] }
  | { readonly outcome: 'mixed-currencies'; readonly currencies: readonly string[] }
  | { readonly outcome: 'total-too-large' };

/**
 * Prices the lines of an order: the agreed price of a line, in the agreed currency if one is named, else the product's
 * list price.
 */
export function priceLines(
  requested: readonly RequestedLine[],
  products: readonly KnownProduct[],
  agreedCurrency?: string,
): Pricing {
  const bySku = new Map(products.map((product) => [product.sku, product]));
  const unknown = new Set<string>();
  const currencies = new Set<string>();
  const lines: PricedLine[] = [];
  let totalMinor = 0;
  for (const { sku, quantity, unitPriceMinor } of requested) {
    const product = bySku.get(sku);
    if (!product) {
      unknown.add(sku);
      continue;
    }
    const { name, kind, priceMinor, currency } = product;
    currencies.add(currency);
    if (unitPriceMinor !== undefined && agreedCurrency !== undefined) currencies.add(agreedCurrency);
    const price = unitPriceMinor ?? priceMinor;
    lines.push({ sku, name, kind, quantity, unitPriceMinor: price });
    totalMinor += quantity * price;
  }
  if (unknown.size > 0) return { outcome: 'unknown-products', skus: [...unknown] };
  if (currencies.size > 1) return { outcome: 'mixed-currencies', currencies: [...currencies].sort() };
  // Beyond 2^53 the sum is no longer exact, and money has to be.
  if (!Number.isSafeInteger(totalMinor)) return { outcome: 'total-too-large' };
  return { outcome: 'priced', lines, totalMinor, currency: [...currencies][0] ?? 'GBP' };
}
