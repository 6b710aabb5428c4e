import { screen, type ScreeningRules } from './screening.ts';

const rules: ScreeningRules = {
  deniedCountries: ['Ruritania'],
  deniedCustomers: ['c-9'],
  reviewQuantityAbove: 100,
};
const order = { customerId: 'c-1', country: 'France', largestQuantity: 5 };

describe('screening', () => {
  it('passes a harmless order', () =>
    expect(screen(order, rules)).toEqual({ verdict: 'pass', score: 0, reasons: [] }));

  it('rejects a denied country or customer, with every reason', () => {
    const screening = screen({ ...order, country: 'RURITANIA', customerId: 'c-9' }, rules);
    expect(screening).toMatchObject({ verdict: 'reject', score: 100 });
    expect(screening.reasons).toHaveLength(2);
  });

  it('asks a person about unusual quantities, unless the rule is off', () => {
    expect(screen({ ...order, largestQuantity: 101 }, rules).verdict).toBe('review');
    expect(screen({ ...order, largestQuantity: 101 }, { ...rules, reviewQuantityAbove: 0 }).verdict).toBe(
      'pass',
    );
  });
});
