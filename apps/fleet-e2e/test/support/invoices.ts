/** The columns of a retail CSV, as `fleet import` reads them. */
const header = 'InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country';

export interface RetailFile {
  readonly csv: string;
  /** Invoices with at least one row that can be ordered. */
  readonly orders: number;
  /** Sum of those rows, in pence. */
  readonly grossMinor: number;
  /** What its cancellations return, in pence. */
  readonly returnedMinor: number;
}

/**
 * A retail file of `invoices` invoices, the same for the same number: popular and rare products, postage, guests,
 * repeated lines, rows without a price, and returns.
 */
export function retailFile(invoices: number): RetailFile {
  const rows: string[] = [header];
  let grossMinor = 0;
  let returnedMinor = 0;
  let state = 7;
  // A linear congruential generator (Numerical Recipes' constants): random enough, and the same every time.
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % below;
  };
  const row = (
    invoice: string,
    sku: string,
    quantity: number,
    priceMinor: number,
    customer: string,
  ): void => {
    const price = (priceMinor / 100).toFixed(2);
    rows.push(`${invoice},${sku},"THE ""${sku}"", PAINTED",${quantity},${price},${customer},United Kingdom`);
    if (!invoice.startsWith('C') && quantity > 0 && priceMinor > 0) grossMinor += quantity * priceMinor;
  };
  for (let n = 0; n < invoices; n++) {
    const invoice = String(600_000 + n);
    const customer = n % 9 === 0 ? '' : String(12_000 + random(40));
    // Everybody wants the first product: its row is the hot one.
    row(invoice, 'HOT1', 1 + random(3), 255, customer);
    for (let line = 0; line < 1 + random(6); line++)
      row(invoice, `SKU${random(60)}`, 1 + random(12), 50 + random(900), customer);
    if (n % 4 === 0) row(invoice, 'POST', 1, 1_800, customer);
    if (n % 7 === 0) row(invoice, 'HOT1', 2, 255, customer);
    if (n % 11 === 0) row(invoice, 'SKU3', 4, 0, customer);
    if (n % 13 === 0) row(`C${invoice}`, 'HOT1', -1, 255, customer);
    // A guest's cancellation names nobody whose order it could be.
    if (n % 13 === 0 && customer !== '') returnedMinor += 255;
  }
  return { csv: `${rows.join('\n')}\n`, orders: invoices, grossMinor, returnedMinor };
}
