import { allStockLocks, stockLocks } from './stock-locks.ts';

describe('the locks of stock', () => {
  it('are few, whatever the number of lines', () => {
    const lines = Array.from({ length: 1_000 }, (_, index) => ({ sku: `SKU-${index}` }));
    expect(new Set(stockLocks(lines))).toEqual(new Set(allStockLocks()));
    expect(allStockLocks()).toHaveLength(16);
  });

  it('are the same for the same SKU and never more than the lines', () => {
    expect(stockLocks([{ sku: '85123A' }, { sku: '85123A' }])).toEqual(stockLocks([{ sku: '85123A' }]));
    expect(stockLocks([{ sku: '85123A' }])).toHaveLength(1);
    expect(allStockLocks()).toContain(stockLocks([{ sku: '85123A' }])[0]);
  });
});
