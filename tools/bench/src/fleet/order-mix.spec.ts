import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { csvMix, linesPerOrder, syntheticMix } from './order-mix.ts';

const size = { products: 500, orders: 2_000 };

it('makes the same orders for the same seed', () => {
  expect(syntheticMix(1, size)).toEqual(syntheticMix(1, size));
  expect(syntheticMix(1, size).orders).not.toEqual(syntheticMix(2, size).orders);
});

it('makes orders of a size that occurs in trade', () => {
  const mix = syntheticMix(1, size);
  const lines = mix.orders.map((order) => order.lines.length).sort((a, b) => a - b);
  expect(linesPerOrder(mix)).toBeGreaterThan(20);
  expect(linesPerOrder(mix)).toBeLessThan(30);
  expect(lines[0]).toBe(1);
  expect(lines.at(-1)).toBeLessThanOrEqual(400);
  const known = new Set(mix.products.map(({ sku }) => sku));
  for (const { lines: ordered } of mix.orders) {
    expect(new Set(ordered.map(({ sku }) => sku)).size).toBe(ordered.length);
    expect(ordered.every(({ sku, quantity }) => known.has(sku) && quantity >= 1 && quantity <= 24)).toBe(
      true,
    );
  }
});

it('has no more lines than there are products', () => {
  const { orders } = syntheticMix(1, { products: 5, orders: 50 });
  expect(Math.max(...orders.map(({ lines }) => lines.length))).toBeLessThanOrEqual(5);
});

describe('from a retail CSV', () => {
  let folder: string;
  beforeAll(() => (folder = mkdtempSync(join(tmpdir(), 'bench-mix-'))));
  afterAll(() => rmSync(folder, { recursive: true }));

  it('takes its invoices, with their prices', () => {
    const file = join(folder, 'sales.csv');
    writeFileSync(
      file,
      'InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country\n' +
        '1,85123A,LANTERN,6,2.55,17850,United Kingdom\n1,POST,POSTAGE,1,18,17850,United Kingdom\n',
    );
    const { source, products, orders } = csvMix(file);
    expect(source).toBe('CSV with 1 orders');
    expect(products.map(({ sku, kind }) => [sku, kind])).toEqual([
      ['85123A', 'stocked'],
      ['POST', 'charge'],
    ]);
    expect(orders[0]?.lines[0]).toEqual({
      sku: '85123A',
      quantity: 6,
      unitPrice: { amount: '2.55', currency: 'GBP' },
    });
  });

  it('says why a file cannot be used', () => {
    expect(() => csvMix(join(folder, 'none.csv'))).toThrow(
      /The orders of .*none\.csv cannot be used: .*ENOENT/,
    );
  });
});
