import { sumBySku } from './lines.ts';

describe('the lines of an order', () => {
  it('name each SKU once, with the sum, by SKU', () => {
    const lines = [
      { sku: 'B', quantity: 2 },
      { sku: 'A', quantity: 1 },
      { sku: 'B', quantity: 40 },
      { sku: 'a', quantity: 5 },
    ];
    expect(sumBySku(lines)).toEqual([
      { sku: 'A', quantity: 1 },
      { sku: 'B', quantity: 42 },
      { sku: 'a', quantity: 5 },
    ]);
  });

  it('keep SKUs apart that are names of object members', () => {
    expect(
      sumBySku([
        { sku: '__proto__', quantity: 1 },
        { sku: 'constructor', quantity: 2 },
      ]),
    ).toEqual([
      { sku: '__proto__', quantity: 1 },
      { sku: 'constructor', quantity: 2 },
    ]);
  });
});
