import { FlotillaError } from '@flotilla/kernel';
import { z } from 'zod';
import { currencyCode, type Money } from './money.ts';

/** Money as it is written at the edge: `{ "amount": "12.50", "currency": "GBP" }`. A text, so that no client rounds it. */
export const decimalMoney = z.object({
  amount: z.string().regex(/^-?\d{1,15}(\.\d{1,4})?$/, 'must be a decimal number as text, such as "12.50"'),
  currency: currencyCode,
});

export type DecimalMoney = z.output<typeof decimalMoney>;

/** Thrown when a text is not an amount of its currency, for example has more decimals than the currency. */
export class InvalidAmountError extends FlotillaError {
  constructor(text: string, currency: string, why: string) {
    super('INVALID_AMOUNT', `"${text}" is not an amount in ${currency}: ${why}`, { retry: 'never' });
  }
}

const digitsByCurrency: Readonly<Record<string, number>> = {
  BHD: 3,
  CLP: 0,
  ISK: 0,
  JOD: 3,
  JPY: 0,
  KRW: 0,
  KWD: 3,
  OMR: 3,
  TND: 3,
  VND: 0,
};

/** How many decimals the currency's minor unit has (ISO 4217): 2 for most, 0 for the yen. */
export function minorUnitDigits(currency: string): number {
  return digitsByCurrency[currency] ?? 2;
}

/** Reads `12.50` as 1250 minor units, exactly. Throws {@link InvalidAmountError}. */
export function parseAmountMinor(text: string, currency: string): number {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text.trim());
  if (!match) throw new InvalidAmountError(text, currency, 'write it as a decimal number, such as 12.50');
  const [, sign, whole = '0', fraction = ''] = match;
  const digits = minorUnitDigits(currency);
  if (/[1-9]/.test(fraction.slice(digits))) {
    throw new InvalidAmountError(text, currency, `the currency has ${digits} decimals`);
  }
  const minor = Number(whole + fraction.slice(0, digits).padEnd(digits, '0'));
  if (!Number.isSafeInteger(minor)) throw new InvalidAmountError(text, currency, 'it is too large');
  return sign === '-' && minor !== 0 ? -minor : minor;
}

/** Writes minor units as the edge shows them: 1250 GBP is `{ amount: '12.50', currency: 'GBP' }`. */
export function formatMoney({ amountMinor, currency }: Money): DecimalMoney {
  const digits = minorUnitDigits(currency);
  const text = String(Math.abs(amountMinor)).padStart(digits + 1, '0');
  const amount = digits === 0 ? text : `${text.slice(0, -digits)}.${text.slice(-digits)}`;
  return { amount: amountMinor < 0 ? `-${amount}` : amount, currency };
}
