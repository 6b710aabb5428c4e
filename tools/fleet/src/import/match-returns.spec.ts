import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { workspaceRoot } from '../workspace.ts';
import { decodeUtf8 } from './csv.ts';
import { matchReturns, type MatchedReturns, type OrderOutcome } from './match-returns.ts';
import { planImport, type PlannedOrder } from './plan.ts';

const header = 'InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country';
const csv = (...rows: string[]): string => [header, ...rows, ''].join('\n');

/** Matches the returns of a file whose orders all were completed, but for those named. */
function match(text: string, statuses: Readonly<Record<string, string>> = {}): MatchedReturns {
  const plan = planImport(text);
  const outcomeOf = ({ invoice }: PlannedOrder): OrderOutcome => ({
    orderId: `order-${invoice}`,
    status: statuses[invoice] ?? 'completed',
  });
  return matchReturns(plan.returns.lines, plan.orders, outcomeOf);
}
const requests = ({ requests }: MatchedReturns) =>
  requests.map(({ invoice, orderId, lines, refundMinor }) => [
    invoice,
    orderId,
    lines.map(({ sku, quantity }) => `${quantity} ${sku}`).join(', '),
    refundMinor,
  ]);
const reasons = ({ unmatched }: MatchedReturns) =>
  unmatched.map(({ line, quantity, reason }) => [line, quantity, reason]);

describe('a cancellation', () => {
  it("returns what the customer's latest earlier order has of the code, at its price", () => {
    const matched = match(
      csv('1,A,x,5,1.00,7,UK', '2,A,x,3,1.10,7,UK', 'C3,A,x,-2,9.99,7,UK', '4,A,x,5,2.00,7,UK'),
    );
    expect(requests(matched)).toEqual([['C3', 'order-2', '2 A', 220]]);
    expect(matched).toMatchObject({
      matchedRows: 1,
      matchedQuantity: 2,
      refundMinor: 220,
      unmatched: [],
    });
  });

  it('goes on in older orders when the latest has none left, and says what is left over', () => {
    const matched = match(
      csv('1,A,x,5,1.00,7,UK', '2,A,x,3,1.10,7,UK', 'C3,A,x,-4,1.00,7,UK', 'C4,A,x,-6,1.00,7,UK'),
    );
    expect(requests(matched)).toEqual([
      ['C3', 'order-2', '3 A', 330],
      ['C3', 'order-1', '1 A', 100],
      ['C4', 'order-1', '4 A', 400],
    ]);
    expect(reasons(matched)).toEqual([[5, 2, 'no quantity left']]);
    expect(matched.matchedQuantity).toBe(8);
  });

  it('takes a code of several prices from the lines as they stand, and several rows as one request', () => {
    const matched = match(
      csv(
        '1,A,x,1,1.00,7,UK',
        '1,Q,x,2,0.50,7,UK',
        '1,A,x,2,1.50,7,UK',
        'C2,A,x,-2,1.00,7,UK',
        'C2,Q,x,-1,0.50,7,UK',
        'C2,A,x,-1,1.00,7,UK',
      ),
    );
    expect(requests(matched)).toEqual([['C2', 'order-1', '3 A, 1 Q', 450]]);
    expect(matched.matchedRows).toBe(3);
  });

  it.each<[string, string[], Record<string, string>, string]>([
    [
      'of a customer without orders',
      ['1,A,x,1,1.00,7,UK', 'C2,A,x,-1,1.00,8,UK'],
      {},
      'no earlier order of the customer',
    ],
    [
      'before the order',
      ['C1,A,x,-1,1.00,7,UK', '2,A,x,1,1.00,7,UK'],
      {},
      'no earlier order of the customer',
    ],
    [
      'of another code',
      ['1,Q,x,1,1.00,7,UK', 'C2,A,x,-1,1.00,7,UK'],
      {},
      'in no earlier order of the customer',
    ],
    [
      'of an order that was rejected',
      ['1,A,x,1,1.00,7,UK', 'C2,A,x,-1,1.00,7,UK'],
      { 1: 'rejected' },
      'its order was not completed',
    ],
    [
      'of an order that was refused',
      ['1,A,x,1,1.00,7,UK', 'C2,A,x,-1,1.00,7,UK'],
      { 1: 'refused' },
      'its order was not completed',
    ],
    [
      'of which one order has not ended, though another has',
      ['1,A,x,1,1.00,7,UK', '2,A,x,1,1.00,7,UK', 'C3,A,x,-1,1.00,7,UK'],
      { 1: 'awaiting_review' },
      'its order has not ended',
    ],
  ])('%s returns nothing, with the reason', (_, rows, statuses, reason) => {
    const matched = match(csv(...rows), statuses);
    expect(matched.requests).toEqual([]);
    expect(matched.unmatched).toMatchObject([{ quantity: 1, reason }]);
  });

  it('asks for the same under the same key in every run, and for another under another', () => {
    const rows = ['1,A,x,5,1.00,7,UK', 'C2,A,x,-2,1.00,7,UK', 'C3,A,x,-2,1.00,7,UK'];
    const keys = match(csv(...rows)).requests.map(({ key }) => key);
    expect(match(csv(...rows)).requests.map(({ key }) => key)).toEqual(keys);
    expect(new Set(keys).size).toBe(2);
    expect(keys[0]).toMatch(/^import-return:C2:[0-9a-f]{32}$/);
    // What else is in the file does not matter.
    const more = [...rows, '4,Q,x,1,1.00,8,UK', 'C5,Q,x,-1,1.00,8,UK'];
    expect(match(csv(...more)).requests.map(({ key }) => key)).toEqual([...keys, expect.any(String)]);
  });
});

interface Sums {
  readonly matchedRows: number;
  readonly matchedQuantity: number;
  readonly unmatchedQuantity: number;
  readonly refundMinor: number;
  readonly rejectedRows: number;
}

/**
 * The same by another way, for files whose orders are all completed: rows split by hand, sales as a list that is walked
 * from its end, one piece at a time.
 */
function countByHand(text: string): Sums {
  const sales: { invoice: string; customer: string; code: string; pennies: number; left: number }[] = [];
  const sums = { matchedRows: 0, matchedQuantity: 0, unmatchedQuantity: 0, refundMinor: 0, rejectedRows: 0 };
  for (const line of text.split('\n').slice(1)) {
    if (line.trim() === '') continue;
    const fields =
      line.match(/("(?:[^"]|"")*"|[^,]*)(?:,|$)/g)?.map((field) => field.replace(/,$/, '')) ?? [];
    const [invoice = '', code = '', , quantityText = '', priceText = '', customer = ''] = fields;
    const quantity = Number(quantityText);
    const pennies = Math.round(Number(priceText) * 100);
    if (!invoice.startsWith('C')) {
      if (quantity > 0 && pennies > 0) sales.push({ invoice, customer, code, pennies, left: quantity });
      continue;
    }
    if (
      /^(POST|DOT|M|D|C2|S|BANK CHARGES|AMAZONFEE|CRUK|B)$/.test(code) ||
      customer === '' ||
      quantity >= 0
    ) {
      sums.rejectedRows += 1;
      continue;
    }
    let returned = 0;
    for (; returned < -quantity; returned += 1) {
      const latest = sales.findLast(
        (sale) => sale.customer === customer && sale.code === code && sale.left > 0,
      );
      if (!latest) break;
      // Of the invoice's prices, the one that it names first and has pieces of.
      const bought = sales.filter((sale) => sale.invoice === latest.invoice && sale.code === code);
      const price = bought.find(({ pennies: each }) =>
        bought.some((sale) => sale.pennies === each && sale.left > 0),
      )?.pennies;
      const piece = bought.find((sale) => sale.pennies === price && sale.left > 0);
      if (!piece) throw new Error('there was a piece a moment ago');
      piece.left -= 1;
      sums.refundMinor += piece.pennies;
    }
    if (returned > 0) sums.matchedRows += 1;
    sums.matchedQuantity += returned;
    sums.unmatchedQuantity += -quantity - returned;
  }
  return sums;
}

function sumsOf(text: string): Sums {
  const { matchedRows, matchedQuantity, unmatched, refundMinor } = match(text);
  return {
    matchedRows,
    matchedQuantity,
    unmatchedQuantity: unmatched.reduce((sum, { quantity }) => sum + quantity, 0),
    refundMinor,
    rejectedRows: planImport(text).returns.rejects.length,
  };
}

/** Every case at once. */
const sample = csv(
  '1,A,"LAMP, RED",6,2.55,7,UK',
  '1,Q,HEART,3,3.39,7,UK',
  '1,A,"LAMP, RED",2,2.10,7,UK',
  '1,A,"LAMP, RED",1,2.55,7,UK',
  '1,POST,Postage,1,18.00,7,UK',
  'C2,A,x,-1,2.55,7,UK',
  '3,A,x,4,2.60,7,UK',
  '3,C,x,1,0,7,UK',
  '4,A,x,9,2.70,8,UK',
  '5,A,x,9,2.70,,UK',
  'C6,A,x,-5,2.60,7,UK',
  'C6,POST,Postage,-1,18.00,7,UK',
  'C6,D,Discount,-1,5.00,7,UK',
  'C6,Q,HEART,3,3.39,7,UK',
  'C6,A,x,-1,2.70,,UK',
  'C7,A,x,-20,2.60,7,UK',
  'C7,Q,x,-1,3.39,7,UK',
  'C8,A,x,-9,2.70,8,UK',
  'C8,C,x,-1,2.70,7,UK',
  'C9,A,x,-1,2.70,9,UK',
);

describe('what is returned of a file', () => {
  it('is what an independent count says, to the penny, for every case', () => {
    expect(sumsOf(sample)).toEqual(countByHand(sample));
    // All of A and one Q of customer 7, all of A of customer 8.
    expect(sumsOf(sample)).toEqual({
      matchedRows: 5,
      matchedQuantity: 1 + 5 + 7 + 1 + 9,
      unmatchedQuantity: 13 + 1 + 1,
      refundMinor: 7 * 255 + 2 * 210 + 4 * 260 + 339 + 9 * 270,
      rejectedRows: 4,
    });
  });

  const file = join(workspaceRoot, '../shared/data/online-retail.csv');
  if (!existsSync(file)) console.warn(`${file} is not there: the returns of the real file are not checked`);
  (existsSync(file) ? it : it.skip)('is what an independent count says, of the real file', () => {
    const text = decodeUtf8(readFileSync(file));
    const sums = sumsOf(text);
    expect(sums).toEqual(countByHand(text));
    expect(sums.matchedRows).toBeGreaterThan(0);
  });
});
