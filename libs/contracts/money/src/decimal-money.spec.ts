import { decimalMoney, formatMoney, InvalidAmountError, money, parseAmountMinor } from './index.ts';

describe('money', () => {
  it.each([
    ['12.50', 'GBP', 1250],
    ['12.5', 'GBP', 1250],
    ['0.07', 'EUR', 7],
    ['-3', 'USD', -300],
    ['1500', 'JPY', 1500],
    ['1.234', 'KWD', 1234],
    ['2.5500', 'GBP', 255],
    ['-0', 'GBP', 0],
  ])('reads %s %s as %d minor units', (text, currency, minor) => {
    expect(parseAmountMinor(text, currency)).toBe(minor);
  });

  it.each([
    ['12.505', 'GBP'],
    ['1.5', 'JPY'],
    ['twelve', 'GBP'],
    ['1e3', 'GBP'],
    ['99999999999999999', 'GBP'],
    ['', 'GBP'],
  ])('refuses "%s" in %s', (text, currency) => {
    expect(() => parseAmountMinor(text, currency)).toThrow(InvalidAmountError);
  });

  it.each([
    [1250, 'GBP', '12.50'],
    [7, 'EUR', '0.07'],
    [-300, 'USD', '-3.00'],
    [1500, 'JPY', '1500'],
    [0, 'GBP', '0.00'],
  ])('writes %d %s as %s and reads it back', (amountMinor, currency, amount) => {
    expect(formatMoney({ amountMinor, currency })).toEqual({ amount, currency });
    expect(parseAmountMinor(amount, currency)).toBe(amountMinor);
  });

  it('is a whole number of minor units inside and a text at the edge', () => {
    expect(money.safeParse({ amountMinor: 1.5, currency: 'GBP' }).success).toBe(false);
    expect(decimalMoney.safeParse({ amount: 12.5, currency: 'GBP' }).success).toBe(false);
    expect(decimalMoney.safeParse({ amount: '12.50', currency: 'gbp' }).success).toBe(false);
  });
});
