import { createHash } from 'node:crypto';
import { InvalidAmountError, parseAmountMinor } from '@flotilla/contracts-money';
import { isCharge } from './charges.ts';
import { readRows, type CsvRow } from './csv.ts';
import { CsvError } from './import.errors.ts';

/** Why a row is left out. */
export type RejectReason =
  | 'wrong number of columns'
  | 'no invoice number'
  | 'no stock code'
  | 'no country'
  | 'stock code too long'
  | 'quantity is no whole number'
  | 'quantity zero or below outside a cancellation'
  | 'quantity too large'
  | 'price is no amount'
  | 'price zero or below'
  | 'price too large'
  | 'customer or country differs within the invoice'
  | 'invoice has more lines than an order may';

export interface Reject {
  /** Where in the file, from 1. */
  readonly line: number;
  readonly invoice: string;
  readonly sku: string;
  readonly reason: RejectReason;
}

/** Why a row of a cancellation returns nothing. */
export type ReturnRejectReason =
  | 'no stock code'
  | 'no customer'
  | 'the code is a charge'
  | 'quantity is no whole number'
  | 'quantity not below zero in a cancellation'
  | 'quantity too large';

/** A row of a cancellation: goods that a customer sent back. */
export interface PlannedReturn {
  /** Where in the file, from 1. */
  readonly line: number;
  /** Of the cancellation; begins with C. */
  readonly invoice: string;
  readonly customerId: string;
  readonly sku: string;
  /** Pieces, above zero. */
  readonly quantity: number;
}

export interface ReturnReject {
  readonly line: number;
  readonly invoice: string;
  readonly sku: string;
  readonly reason: ReturnRejectReason;
}

export interface PlannedProduct {
  readonly sku: string;
  readonly name: string;
  readonly kind: 'stocked' | 'charge';
  /** The latest price in the file. */
  readonly priceMinor: number;
}

export interface PlannedReceipt {
  readonly sku: string;
  readonly quantity: number;
}

export interface PlannedLine {
  readonly sku: string;
  readonly quantity: number;
  /** The agreed price per piece. */
  readonly unitPriceMinor: number;
}

export interface PlannedOrder {
  readonly invoice: string;
  /** Where in the file its first row is, from 1. */
  readonly line: number;
  readonly customerId: string;
  readonly country: string;
  readonly lines: readonly PlannedLine[];
  readonly totalMinor: number;
  /** The idempotency key: the same invoice with the same content has the same key, in whatever file. */
  readonly key: string;
}

/** What is to be done about a file. */
export interface ImportPlan {
  /** Of the text: the same file has the same hash. */
  readonly fileHash: string;
  readonly currency: string;
  readonly rows: number;
  /** All that are not returns, also those of which every row was rejected. */
  readonly invoices: number;
  readonly orders: readonly PlannedOrder[];
  readonly products: readonly PlannedProduct[];
  readonly receipts: readonly PlannedReceipt[];
  readonly rejects: readonly Reject[];
  /** Cancellations: invoice numbers that begin with C. What their rows return is known when the orders have ended. */
  readonly returns: {
    readonly invoices: number;
    readonly rows: number;
    /** Rows that may return something, in the order of the file. */
    readonly lines: readonly PlannedReturn[];
    readonly rejects: readonly ReturnReject[];
  };
  /** The sum of all orders. */
  readonly grossMinor: number;
}

export interface PlanOptions {
  /** Of all prices; ISO 4217. Default GBP. */
  readonly currency?: string;
  /** Stock that is received, as a part of what the file sells; rounded down for each product. Default 1. */
  readonly stockFactor?: number;
}

// The limits of PlaceOrder and of the catalogue, checked here so that a row is rejected rather than its order refused.
const MAX_LINES = 1_000;
const MAX_QUANTITY = 1_000_000;
const MAX_PRICE_MINOR = 1_000_000_000;
const MAX_SKU = 64;
const MAX_NAME = 200;

interface Draft {
  readonly invoice: string;
  readonly customerId: string;
  readonly country: string;
  /** By code and price. */
  readonly lines: Map<string, PlannedLine>;
  readonly rows: AcceptedRow[];
}

interface AcceptedRow {
  readonly line: number;
  readonly invoice: string;
  readonly sku: string;
  readonly description: string;
  readonly quantity: number;
  readonly unitPriceMinor: number;
  readonly customerId: string;
  readonly country: string;
}

/** Turns the text of a retail CSV into what is to be sent. Pure. Throws {@link CsvError} for an unreadable file. */
export function planImport(text: string, options: PlanOptions = {}): ImportPlan {
  const currency = options.currency ?? 'GBP';
  const rejects: Reject[] = [];
  const drafts = new Map<string, Draft>();
  const invoices = new Set<string>();
  const returned = new Set<string>();
  let rows = 0;
  let returnedRows = 0;
  const returns: PlannedReturn[] = [];
  const returnRejects: ReturnReject[] = [];

  readRows(text, (row) => {
    rows += 1;
    const invoice = row.fields?.InvoiceNo ?? '';
    if (row.fields && /^c/i.test(invoice)) {
      returned.add(invoice);
      returnedRows += 1;
      const read = readReturn(row.line, row.fields);
      if (typeof read !== 'string') returns.push(read);
      else returnRejects.push({ line: row.line, invoice, sku: row.fields.StockCode, reason: read });
      return;
    }
    if (invoice !== '') invoices.add(invoice);
    const read = readRow(row, currency);
    const reason = typeof read === 'string' ? read : addTo(drafts, read);
    if (reason === undefined) return;
    rejects.push({ line: row.line, invoice, sku: row.fields?.StockCode ?? '', reason });
  });
  if (rows === 0) throw new CsvError('The file has a header and no rows');

  for (const [invoice, { lines, rows: lost }] of drafts) {
    if (lines.size <= MAX_LINES) continue;
    drafts.delete(invoice);
    const reason = 'invoice has more lines than an order may';
    rejects.push(...lost.map(({ line, sku }) => ({ line, invoice, sku, reason }) as const));
  }
  const orders = [...drafts.values()].map((draft) => orderOf(draft, currency));
  return {
    fileHash: sha256(text),
    currency,
    rows,
    invoices: invoices.size,
    orders,
    products: productsOf(drafts),
    receipts: receiptsOf(orders, options.stockFactor ?? 1),
    rejects: rejects.sort((a, b) => a.line - b.line),
    returns: { invoices: returned.size, rows: returnedRows, lines: returns, rejects: returnRejects },
    grossMinor: orders.reduce((sum, { totalMinor }) => sum + totalMinor, 0),
  };
}

/** How often each reason occurs, the most frequent first. */
export function countByReason<R extends string>(
  rejects: readonly { readonly reason: R }[],
): [reason: R, count: number][] {
  const counts = new Map<R, number>();
  for (const { reason } of rejects) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a);
}

function readRow({ line, fields }: CsvRow, currency: string): AcceptedRow | RejectReason {
  if (fields === undefined) return 'wrong number of columns';
  const { InvoiceNo: invoice, StockCode: sku, Description: description, Country: country } = fields;
  if (invoice === '') return 'no invoice number';
  if (sku === '') return 'no stock code';
  if (sku.length > MAX_SKU) return 'stock code too long';
  if (!/^[+-]?\d+$/.test(fields.Quantity)) return 'quantity is no whole number';
  const quantity = Number(fields.Quantity);
  if (quantity <= 0) return 'quantity zero or below outside a cancellation';
  if (quantity > MAX_QUANTITY) return 'quantity too large';
  const unitPriceMinor = amountOf(fields.UnitPrice, currency);
  if (unitPriceMinor === undefined) return 'price is no amount';
  if (unitPriceMinor <= 0) return 'price zero or below';
  if (unitPriceMinor > MAX_PRICE_MINOR) return 'price too large';
  if (country === '') return 'no country';
  const customerId = fields.CustomerID === '' ? `guest-${invoice}` : fields.CustomerID;
  return { line, invoice, sku, description, quantity, unitPriceMinor, customerId, country };
}

function readReturn(line: number, fields: NonNullable<CsvRow['fields']>): PlannedReturn | ReturnRejectReason {
  const { InvoiceNo: invoice, StockCode: sku, CustomerID: customerId } = fields;
  if (sku === '' || sku.length > MAX_SKU) return 'no stock code';
  if (!/^[+-]?\d+$/.test(fields.Quantity)) return 'quantity is no whole number';
  const quantity = -Number(fields.Quantity);
  if (quantity <= 0) return 'quantity not below zero in a cancellation';
  if (quantity > MAX_QUANTITY) return 'quantity too large';
  if (isCharge(sku)) return 'the code is a charge';
  if (customerId === '') return 'no customer';
  return { line, invoice, customerId, sku, quantity };
}

/** Undefined for what is no exact amount of the currency, such as a tenth of a penny. */
function amountOf(text: string, currency: string): number | undefined {
  try {
    return parseAmountMinor(text, currency);
  } catch (error) {
    if (error instanceof InvalidAmountError) return undefined;
    throw error;
  }
}

/** Adds a row to its invoice; equal lines become one. Returns why not, if not. */
function addTo(drafts: Map<string, Draft>, row: AcceptedRow): RejectReason | undefined {
  const { invoice, sku, quantity, unitPriceMinor, customerId, country } = row;
  const draft: Draft = drafts.get(invoice) ?? { invoice, customerId, country, lines: new Map(), rows: [] };
  if (draft.customerId !== customerId || draft.country !== country) {
    return 'customer or country differs within the invoice';
  }
  const key = `${unitPriceMinor} ${sku}`;
  const total = quantity + (draft.lines.get(key)?.quantity ?? 0);
  if (total > MAX_QUANTITY) return 'quantity too large';
  draft.lines.set(key, { sku, quantity: total, unitPriceMinor });
  draft.rows.push(row);
  drafts.set(invoice, draft);
  return undefined;
}

function orderOf({ invoice, customerId, country, lines, rows }: Draft, currency: string): PlannedOrder {
  const planned = [...lines.values()];
  const content = JSON.stringify([
    invoice,
    customerId,
    country,
    currency,
    planned.map(({ sku, quantity, unitPriceMinor }) => [sku, quantity, unitPriceMinor]),
  ]);
  return {
    invoice,
    line: rows[0]?.line ?? 0,
    customerId,
    country,
    lines: planned,
    totalMinor: planned.reduce((sum, { quantity, unitPriceMinor }) => sum + quantity * unitPriceMinor, 0),
    key: keyOf('import', invoice, content),
  };
}

/** Every product that is ordered, with its latest description and price. */
function productsOf(drafts: ReadonlyMap<string, Draft>): PlannedProduct[] {
  const products = new Map<string, { name: string; priceMinor: number }>();
  const rows = [...drafts.values()].flatMap((draft) => draft.rows).sort((a, b) => a.line - b.line);
  for (const { sku, description, unitPriceMinor } of rows) {
    const name = description === '' ? (products.get(sku)?.name ?? '') : description.slice(0, MAX_NAME);
    products.set(sku, { name, priceMinor: unitPriceMinor });
  }
  return [...products]
    .map(([sku, { name, priceMinor }]) => ({
      sku,
      name: name === '' ? sku : name,
      kind: isCharge(sku) ? ('charge' as const) : ('stocked' as const),
      priceMinor,
    }))
    .sort((a, b) => (a.sku < b.sku ? -1 : 1));
}

/** What the orders take of each product, times the factor. */
function receiptsOf(orders: readonly PlannedOrder[], factor: number): PlannedReceipt[] {
  const sold = new Map<string, number>();
  for (const { sku, quantity } of orders.flatMap(({ lines }) => lines)) {
    if (!isCharge(sku)) sold.set(sku, (sold.get(sku) ?? 0) + quantity);
  }
  return [...sold]
    .map(([sku, quantity]) => ({ sku, quantity: portionOf(quantity, factor) }))
    .filter(({ quantity }) => quantity > 0)
    .sort((a, b) => (a.sku < b.sku ? -1 : 1));
}

/** Rounded down, but not because 0.29 times 100 is a little less than 29 in binary. */
function portionOf(quantity: number, factor: number): number {
  return Math.floor(Number((quantity * factor).toPrecision(12)));
}

/** An idempotency key that follows from what it is for; the invoice in it is for people. */
export function keyOf(what: string, invoice: string, content: string): string {
  return `${what}:${invoice.replaceAll(/[^A-Za-z0-9_-]/g, '_').slice(0, 40)}:${sha256(content).slice(0, 32)}`;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
