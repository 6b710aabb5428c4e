import type { Money } from '@flotilla/contracts-money';

export type ProductKind = 'stocked' | 'charge';

/** What somebody wants a product to be. */
export interface ProductDefinition {
  readonly sku: string;
  readonly name: string;
  readonly kind: ProductKind;
  readonly price: Money;
}

/** A product as it is. Its kind and its currency never change. */
export interface Product extends ProductDefinition {
  /** Counts the product's facts, from 1, without a gap. */
  readonly version: number;
  /** Since when the price holds; never goes back, whatever the clocks of two replicas say. */
  readonly priceValidFrom: Date;
}

/** Something that happened to a product; `version` is the product's after it. */
export type ProductFact =
  | { readonly fact: 'defined'; readonly product: ProductDefinition; readonly version: number }
  | {
      readonly fact: 'price-changed';
      readonly sku: string;
      readonly price: Money;
      readonly previousPrice: Money;
      readonly validFrom: Date;
      readonly version: number;
    };

export type DefinitionOutcome =
  | {
      readonly outcome: 'created' | 'changed';
      readonly product: Product;
      readonly facts: readonly ProductFact[];
    }
  | { readonly outcome: 'unchanged'; readonly product: Product }
  | { readonly outcome: 'kind-is-fixed'; readonly kind: ProductKind }
  | { readonly outcome: 'currency-is-fixed'; readonly currency: string };

/**
 * Decides what defining a product means for what is there. A change of name and one of price are two facts with
 * a version each; both carry the new price, so that whoever sees only one of them is not left with the old.
 */
export function defineProduct(
  current: Product | undefined,
  wanted: ProductDefinition,
  at: Date,
): DefinitionOutcome {
  if (!current) {
    const product = { ...wanted, version: 1, priceValidFrom: at };
    return { outcome: 'created', product, facts: [{ fact: 'defined', product: wanted, version: 1 }] };
  }
  if (wanted.kind !== current.kind) return { outcome: 'kind-is-fixed', kind: current.kind };
  if (wanted.price.currency !== current.price.currency) {
    return { outcome: 'currency-is-fixed', currency: current.price.currency };
  }

  const facts: ProductFact[] = [];
  let { version, priceValidFrom } = current;
  if (wanted.name !== current.name) {
    version += 1;
    facts.push({ fact: 'defined', product: wanted, version });
  }
  if (wanted.price.amountMinor !== current.price.amountMinor) {
    version += 1;
    priceValidFrom = at > current.priceValidFrom ? at : current.priceValidFrom;
    facts.push({
      fact: 'price-changed',
      sku: wanted.sku,
      price: wanted.price,
      previousPrice: current.price,
      validFrom: priceValidFrom,
      version,
    });
  }
  if (facts.length === 0) return { outcome: 'unchanged', product: current };
  return { outcome: 'changed', product: { ...wanted, version, priceValidFrom }, facts };
}
