export interface ScreeningRules {
  /** Orders from these countries are rejected; compared without regard to case. */
  readonly deniedCountries: readonly string[];
  readonly deniedCustomers: readonly string[];
  /** A line with more pieces than this needs a person's eye; 0: no such rule. */
  readonly reviewQuantityAbove: number;
}

export interface ScreenedOrder {
  readonly customerId: string;
  readonly country: string;
  readonly largestQuantity: number;
}

export interface Screening {
  readonly verdict: 'pass' | 'review' | 'reject';
  /** 0 (clean) to 100. */
  readonly score: number;
  readonly reasons: string[];
}

/** Judges an order by simple rules. */
export function screen(order: ScreenedOrder, rules: ScreeningRules): Screening {
  const reasons: string[] = [];
  const country = order.country.toLowerCase();
  if (rules.deniedCountries.some((denied) => denied.toLowerCase() === country)) {
    reasons.push(`orders to ${order.country} are not accepted`);
  }
  if (rules.deniedCustomers.includes(order.customerId)) reasons.push('the customer is barred');
  if (reasons.length > 0) return { verdict: 'reject', score: 100, reasons };
  if (rules.reviewQuantityAbove > 0 && order.largestQuantity > rules.reviewQuantityAbove) {
    const reason = `a line of ${order.largestQuantity} pieces is above ${rules.reviewQuantityAbove}`;
    return { verdict: 'review', score: 60, reasons: [reason] };
  }
  return { verdict: 'pass', score: 0, reasons };
}
