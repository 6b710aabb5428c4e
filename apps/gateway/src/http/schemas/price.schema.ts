import { decimalMoney, InvalidAmountError, parseAmountMinor } from '@flotilla/contracts-money';
import { z } from 'zod';

/** The highest price of one piece, in minor units. */
const MAX_PRICE_MINOR = 1_000_000_000;

/** A price as callers write it, `{ "amount": "12.50", "currency": "GBP" }`; read, it is money in minor units. */
export const price = decimalMoney.strict().transform(({ amount, currency }, context) => {
  const wrong = (message: string) => {
    context.addIssue({ code: 'custom', path: ['amount'], message });
    return z.NEVER;
  };
  try {
    const amountMinor = parseAmountMinor(amount, currency);
    if (amountMinor < 0) return wrong('must not be negative');
    if (amountMinor > MAX_PRICE_MINOR) return wrong(`must not be more than ${MAX_PRICE_MINOR} minor units`);
    return { amountMinor, currency };
  } catch (error) {
    if (error instanceof InvalidAmountError) return wrong(error.message);
    throw error;
  }
});
