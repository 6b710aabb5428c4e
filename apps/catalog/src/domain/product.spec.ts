import { defineProduct, type DefinitionOutcome, type Product, type ProductDefinition } from './product.ts';

const noon = new Date('2026-03-01T12:00:00Z');
const later = new Date('2026-03-02T12:00:00Z');
const mug: ProductDefinition = {
  sku: '85123A',
  name: 'Mug',
  kind: 'stocked',
  price: { amountMinor: 255, currency: 'GBP' },
};
const existing: Product = { ...mug, version: 3, priceValidFrom: noon };

function changed(outcome: DefinitionOutcome): Extract<DefinitionOutcome, { outcome: 'created' | 'changed' }> {
  if (outcome.outcome !== 'created' && outcome.outcome !== 'changed') {
    throw new Error(`expected a change, got ${outcome.outcome}`);
  }
  return outcome;
}

describe('defining a product', () => {
  it('creates it with version 1 and one fact', () => {
    expect(defineProduct(undefined, mug, noon)).toEqual({
      outcome: 'created',
      product: { ...mug, version: 1, priceValidFrom: noon },
      facts: [{ fact: 'defined', product: mug, version: 1 }],
    });
  });

  it('changes nothing when it is what it was', () => {
    expect(defineProduct(existing, { ...mug }, later)).toEqual({ outcome: 'unchanged', product: existing });
  });

  it('renames it, and the price keeps its date', () => {
    const { product, facts } = changed(defineProduct(existing, { ...mug, name: 'Big mug' }, later));
    expect(product).toEqual({ ...mug, name: 'Big mug', version: 4, priceValidFrom: noon });
    expect(facts).toEqual([{ fact: 'defined', product: { ...mug, name: 'Big mug' }, version: 4 }]);
  });

  it('changes its price from the moment on', () => {
    const price = { amountMinor: 300, currency: 'GBP' };
    const { product, facts } = changed(defineProduct(existing, { ...mug, price }, later));
    expect(product).toEqual({ ...mug, price, version: 4, priceValidFrom: later });
    expect(facts).toEqual([
      { fact: 'price-changed', sku: '85123A', price, previousPrice: mug.price, validFrom: later, version: 4 },
    ]);
  });

  it('gives a new name and a new price a version each, without a gap', () => {
    const wanted = { ...mug, name: 'Big mug', price: { amountMinor: 300, currency: 'GBP' } };
    const { product, facts } = changed(defineProduct(existing, wanted, later));
    expect(product.version).toBe(5);
    expect(facts.map(({ fact, version }) => [fact, version])).toEqual([
      ['defined', 4],
      ['price-changed', 5],
    ]);
    expect(facts[0]).toMatchObject({ product: { price: { amountMinor: 300 } } });
  });

  it('never dates a price before the one it replaces', () => {
    const price = { amountMinor: 1, currency: 'GBP' };
    const { product } = changed(
      defineProduct({ ...existing, priceValidFrom: later }, { ...mug, price }, noon),
    );
    expect(product.priceValidFrom).toEqual(later);
  });

  it('refuses another kind, and says which it is', () => {
    expect(defineProduct(existing, { ...mug, kind: 'charge' }, later)).toEqual({
      outcome: 'kind-is-fixed',
      kind: 'stocked',
    });
  });

  it('refuses another currency, even at the same amount', () => {
    const price = { amountMinor: 255, currency: 'EUR' };
    expect(defineProduct(existing, { ...mug, price }, later)).toEqual({
      outcome: 'currency-is-fixed',
      currency: 'GBP',
    });
  });
});
