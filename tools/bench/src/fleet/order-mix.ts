import { readFileSync } from 'node:fs';
import { formatMoney } from '@flotilla/contracts-money';
import { errorMessage } from '@flotilla/kernel';
import { decodeUtf8 } from '@flotilla/fleet/import/csv';
import { planImport } from '@flotilla/fleet/import/plan';
import { BenchUsageError } from '../bench.errors.ts';
import { normal, seededRandom } from '../random.ts';

interface Price {
  readonly amount: string;
  readonly currency: string;
}

export interface MixProduct {
  readonly sku: string;
  readonly name: string;
  readonly kind: 'stocked' | 'charge';
  readonly price: Price;
}

export interface MixOrder {
  readonly customerId: string;
  readonly lines: readonly { readonly sku: string; readonly quantity: number; readonly unitPrice?: Price }[];
  readonly shipTo: { readonly name: string; readonly country: string };
}

/** What is ordered in the benchmarks of the fleet; the orders come round again when they are used up. */
export interface OrderMix {
  /** Where it is from, for the report. */
  readonly source: string;
  readonly products: readonly MixProduct[];
  readonly orders: readonly MixOrder[];
}

/**
 * Orders like those of a wholesaler of gifts: half of them have up to 15 lines, a few some hundred, 25 on average (the
 * UCI Online Retail data set has 26), some products are in every third of them and most in few.
 */
export function syntheticMix(
  seed: number,
  size: { readonly products: number; readonly orders: number },
): OrderMix {
  const random = seededRandom(seed);
  const products = Array.from({ length: size.products }, (_, at): MixProduct => ({
    sku: `BENCH-${String(at).padStart(5, '0')}`,
    name: `Synthetic product ${at}`,
    kind: 'stocked',
    price: formatMoney({ amountMinor: 25 + Math.floor(random() ** 3 * 2_000), currency: 'GBP' }),
  }));
  const orders = Array.from({ length: size.orders }, (_, at): MixOrder => {
    const wanted = Math.min(Math.max(1, Math.round(15 * Math.exp(normal(random)))), 400, products.length);
    const skus = new Set<string>();
    // The square puts half of what is ordered on a quarter of the products.
    while (skus.size < wanted) skus.add(products[Math.floor(random() ** 2 * products.length)]?.sku ?? '');
    return {
      customerId: `bench-${Math.floor(random() * 2_000)}`,
      lines: [...skus].map((sku) => ({ sku, quantity: 1 + Math.floor(random() ** 2 * 24) })),
      shipTo: { name: `Customer of order ${at}`, country: 'United Kingdom' },
    };
  });
  return { source: `synthetic, seed ${seed}`, products, orders };
}

/** The orders of a retail CSV, with the prices that were agreed on. Throws {@link BenchUsageError}. */
export function csvMix(file: string): OrderMix {
  try {
    const { products, orders, currency } = planImport(decodeUtf8(readFileSync(file)));
    const price = (amountMinor: number): Price => formatMoney({ amountMinor, currency });
    return {
      source: `CSV with ${orders.length} orders`,
      products: products.map(({ sku, name, kind, priceMinor }) => ({
        sku,
        name,
        kind,
        price: price(priceMinor),
      })),
      orders: orders.map(({ customerId, country, lines }) => ({
        customerId,
        lines: lines.map(({ sku, quantity, unitPriceMinor }) => ({
          sku,
          quantity,
          unitPrice: price(unitPriceMinor),
        })),
        shipTo: { name: `Customer ${customerId}`, country },
      })),
    };
  } catch (error) {
    throw new BenchUsageError(`The orders of ${file} cannot be used: ${errorMessage(error)}`);
  }
}

/** Lines per order, on average. */
export function linesPerOrder({ orders }: OrderMix): number {
  return orders.reduce((sum, { lines }) => sum + lines.length, 0) / orders.length;
}
