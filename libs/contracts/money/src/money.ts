import { z } from 'zod';

/** An ISO 4217 code in capitals. */
export const currencyCode = z.string().regex(/^[A-Z]{3}$/, 'must be an ISO 4217 code such as GBP');

/** An amount in the currency's minor unit (pence, cents): exact, as every service keeps it and every message carries it. */
export const money = z.object({ amountMinor: z.int(), currency: currencyCode });

export type Money = z.output<typeof money>;
