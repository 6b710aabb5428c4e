/**
 * Codes of the retail data set that are no goods: postage, carriage, fees, discounts, corrections, samples,
 * donations. There is no stock behind them.
 */
const chargeCodes: ReadonlySet<string> = new Set([
  'AMAZONFEE',
  'B', // bad debt
  'BANK CHARGES',
  'C2', // carriage
  'C3',
  'CRUK', // commission
  'D', // discount
  'DOT', // postage of the web shop
  'M', // manual
  'PADS',
  'POST',
  'S', // samples
]);

/** Whether a code is a charge rather than a product in the warehouse. */
export function isCharge(code: string): boolean {
  const upper = code.toUpperCase();
  // Vouchers: gift_0001_10 and so on.
  return chargeCodes.has(upper) || upper.startsWith('GIFT_') || upper.startsWith('ADJUST');
}
