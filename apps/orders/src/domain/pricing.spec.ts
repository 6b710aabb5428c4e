import { priceLines, type KnownProduct } from './pricing.ts';

const product = (sku: string, priceMinor: number, currency = 'GBP'): KnownProduct => ({
  sku,
  name: `The ${sku}`,
  kind: sku === 'POST' ? 'charge' : 'stocked',
  priceMinor,
  currency,
});
const products = [product('A', 255), product('B', 339), product('POST', 1800), product('E', 100, 'EUR')];

describe('pricing', () => {
  it('takes the list price, or the agreed one', () => {
    const pricing = priceLines(
      [
        { sku: 'A', quantity: 6 },
        { sku: 'B', quantity: 2, unitPriceMinor: 300 },
        { sku: 'POST', quantity: 1 },
      ],
      products,
    );
    expect(pricing).toMatchObject({
      outcome: 'priced',
      totalMinor: 6 * 255 + 2 * 300 + 1800,
      currency: 'GBP',
    });
    expect(
      pricing.outcome === 'priced' && pricing.lines.map((line) => [line.kind, line.unitPriceMinor]),
    ).toEqual([
      ['stocked', 255],
      ['stocked', 300],
      ['charge', 1800],
    ]);
  });

  it('names every unknown product once', () => {
    const lines = ['X', 'A', 'Y', 'X'].map((sku) => ({ sku, quantity: 1 }));
    expect(priceLines(lines, products)).toEqual({ outcome: 'unknown-products', skus: ['X', 'Y'] });
  });

  it('refuses several currencies and a sum that is not exact', () => {
    const mixed = ['A', 'E'].map((sku) => ({ sku, quantity: 1 }));
    expect(priceLines(mixed, products)).toEqual({ outcome: 'mixed-currencies', currencies: ['EUR', 'GBP'] });
    const agreed = [{ sku: 'A', quantity: 1, unitPriceMinor: 200 }];
    expect(priceLines(agreed, products, 'USD')).toEqual({
      outcome: 'mixed-currencies',
      currencies: ['GBP', 'USD'],
    });
    expect(priceLines(agreed, products, 'GBP')).toMatchObject({ outcome: 'priced', totalMinor: 200 });
    const huge = [{ sku: 'A', quantity: 1_000_000_000, unitPriceMinor: 1_000_000_000 }];
    expect(priceLines(huge, products)).toEqual({ outcome: 'total-too-large' });
  });
});
