import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { workspaceRoot } from '../workspace.ts';
import { decodeUtf8 } from './csv.ts';
import { CsvError } from './import.errors.ts';
import { countByReason, planImport } from './plan.ts';

const header = 'InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country';
const csv = (...rows: string[]): string => [header, ...rows, ''].join('\n');
const reasons = (...rows: string[]): string[] => planImport(csv(...rows)).rejects.map(({ reason }) => reason);

describe('an invoice', () => {
  it('becomes one order at its own prices', () => {
    const { orders, grossMinor } = planImport(
      csv(
        '536365,85123A,HEART,6,2.55,17850,United Kingdom',
        '536365,71053,LANTERN,2,3.4,17850,United Kingdom',
      ),
    );
    expect(orders).toEqual([
      {
        invoice: '536365',
        line: 2,
        customerId: '17850',
        country: 'United Kingdom',
        lines: [
          { sku: '85123A', quantity: 6, unitPriceMinor: 255 },
          { sku: '71053', quantity: 2, unitPriceMinor: 340 },
        ],
        totalMinor: 2_210,
        key: expect.stringMatching(/^import:536365:[0-9a-f]{32}$/) as string,
      },
    ]);
    expect(grossMinor).toBe(2_210);
  });

  it('merges equal lines and keeps the same code at another price apart', () => {
    const { orders } = planImport(csv('1,A,x,1,1.00,7,UK', '1,A,x,2,1.00,7,UK', '1,A,x,1,1.50,7,UK'));
    expect(orders[0]?.lines).toEqual([
      { sku: 'A', quantity: 3, unitPriceMinor: 100 },
      { sku: 'A', quantity: 1, unitPriceMinor: 150 },
    ]);
  });

  it('without a customer belongs to a guest', () => {
    expect(planImport(csv('1,A,x,1,1.00,,UK')).orders[0]?.customerId).toBe('guest-1');
  });

  it('has the same key in another file, and another key with other content', () => {
    const keyOf = (...rows: string[]): string | undefined => planImport(csv(...rows)).orders.at(-1)?.key;
    const row = '1,A,x,1,1.00,7,UK';
    expect(keyOf('0,B,y,1,2.00,8,UK', row)).toBe(keyOf(row));
    expect(keyOf('1,A,x,2,1.00,7,UK')).not.toBe(keyOf(row));
    expect(keyOf('1 /ü,A,x,1,1.00,7,UK')).toMatch(/^import:1___:[0-9a-f]{32}$/);
  });

  it('that begins with C is a cancellation: returned, not ordered, not rejected', () => {
    const plan = planImport(csv('C1,A,x,-1,1.00,7,UK', 'C1,Q,x,-2,1.00,7,UK', '2,A,x,1,1.00,7,UK'));
    expect(plan.returns).toEqual({
      invoices: 1,
      rows: 2,
      lines: [
        { line: 2, invoice: 'C1', customerId: '7', sku: 'A', quantity: 1 },
        { line: 3, invoice: 'C1', customerId: '7', sku: 'Q', quantity: 2 },
      ],
      rejects: [],
    });
    expect([plan.invoices, plan.orders.length, plan.rejects.length, plan.rows]).toEqual([1, 1, 0, 3]);
  });

  it('with more lines than an order may have is left out whole, row by row', () => {
    const rows = Array.from({ length: 1_001 }, (_, at) => `1,P${at},x,1,1.00,7,UK`);
    const plan = planImport(csv(...rows, '2,A,x,1,1.00,7,UK'));
    expect(plan.orders.map(({ invoice }) => invoice)).toEqual(['2']);
    expect(countByReason(plan.rejects)).toEqual([['invoice has more lines than an order may', 1_001]]);
    expect(plan.products.map(({ sku }) => sku)).toEqual(['A']);
  });
});

describe('a row is rejected, with its line and reason,', () => {
  it.each([
    ['1,A,x,-1,1.00,7,UK', 'quantity zero or below outside a cancellation'],
    ['1,A,x,0,1.00,7,UK', 'quantity zero or below outside a cancellation'],
    ['1,A,x,1.5,1.00,7,UK', 'quantity is no whole number'],
    ['1,A,x,many,1.00,7,UK', 'quantity is no whole number'],
    ['1,A,x,1000001,1.00,7,UK', 'quantity too large'],
    ['1,A,x,1,0,7,UK', 'price zero or below'],
    ['1,A,x,1,-11062.06,7,UK', 'price zero or below'],
    ['1,A,x,1,0.001,7,UK', 'price is no amount'],
    ['1,A,x,1,free,7,UK', 'price is no amount'],
    ['1,A,x,1,10000000.01,7,UK', 'price too large'],
    ['1,A,x,1,1.00,7,', 'no country'],
    [',A,x,1,1.00,7,UK', 'no invoice number'],
    ['1,,x,1,1.00,7,UK', 'no stock code'],
    [`1,${'A'.repeat(65)},x,1,1.00,7,UK`, 'stock code too long'],
    ['1,A,x,1,1.00,7', 'wrong number of columns'],
    ['1,A,x,1,1.00,7,UK,more', 'wrong number of columns'],
  ])('%s: %s', (row, reason) => expect(reasons(row)).toEqual([reason]));

  it('when it names another customer than the invoice did, and the rest of the invoice stands', () => {
    const plan = planImport(csv('1,A,x,1,1.00,7,UK', '1,B,x,1,1.00,8,UK', '1,C,x,1,1.00,7,UK'));
    expect(plan.rejects).toEqual([
      { line: 3, invoice: '1', sku: 'B', reason: 'customer or country differs within the invoice' },
    ]);
    expect(plan.orders[0]?.lines.map(({ sku }) => sku)).toEqual(['A', 'C']);
  });

  it('also after a row of several lines', () => {
    expect(planImport(csv('1,A,"two\nlines",1,1.00,7,UK', '1,B,x,0,1.00,7,UK')).rejects[0]?.line).toBe(4);
  });
});

describe('a row of a cancellation returns nothing, with its line and reason,', () => {
  it.each([
    ['C1,A,x,1,1.00,7,UK', 'quantity not below zero in a cancellation'],
    ['C1,A,x,0,1.00,7,UK', 'quantity not below zero in a cancellation'],
    ['C1,A,x,-1.5,1.00,7,UK', 'quantity is no whole number'],
    ['C1,A,x,-1000001,1.00,7,UK', 'quantity too large'],
    ['C1,D,Discount,-1,27.50,7,UK', 'the code is a charge'],
    ['C1,A,x,-1,1.00,,UK', 'no customer'],
    ['C1,,x,-1,1.00,7,UK', 'no stock code'],
  ])('%s: %s', (row, reason) => {
    const { returns, rejects } = planImport(csv('1,Q,x,1,1.00,7,UK', row));
    expect(returns.rejects).toMatchObject([{ line: 3, reason }]);
    expect([returns.lines, rejects]).toEqual([[], []]);
  });
});

describe('products', () => {
  it('take the last description and price of what is sold, and the code where there is no description', () => {
    const plan = planImport(
      csv(
        '1,A,old name,1,1.00,7,UK',
        '2,A,new name,1,2.00,7,UK',
        '3,A,,1,3.00,7,UK',
        '3,Q,,1,1.00,7,UK',
        '4,A,damaged?,-9,0,,UK',
      ),
    );
    expect(plan.products).toEqual([
      { sku: 'A', name: 'new name', kind: 'stocked', priceMinor: 300 },
      { sku: 'Q', name: 'Q', kind: 'stocked', priceMinor: 100 },
    ]);
  });

  it.each([
    'POST',
    'DOT',
    'M',
    'm',
    'D',
    'C2',
    'S',
    'B',
    'BANK CHARGES',
    'AMAZONFEE',
    'CRUK',
    'PADS',
    'gift_0001_20',
  ])('%s is a charge, with no stock behind it', (code) => {
    const plan = planImport(csv(`1,${code},x,1,1.00,7,UK`));
    expect(plan.products[0]?.kind).toBe('charge');
    expect(plan.receipts).toEqual([]);
  });

  it.each(['85123A', '15056bl', 'DCGS0076', '22423'])('%s is a product', (code) => {
    expect(planImport(csv(`1,${code},x,1,1.00,7,UK`)).products[0]?.kind).toBe('stocked');
  });
});

describe('stock', () => {
  it('is what the file sells of each product', () => {
    const { receipts } = planImport(csv('1,A,x,3,1.00,7,UK', '2,A,x,4,1.00,7,UK', '2,Q,x,1,1.00,7,UK'));
    expect(receipts).toEqual([
      { sku: 'A', quantity: 7 },
      { sku: 'Q', quantity: 1 },
    ]);
  });

  it.each([
    [0.9, [['A', 90]]],
    [0.29, [['A', 29]]],
    [
      2,
      [
        ['A', 200],
        ['Q', 2],
      ],
    ],
    [0, []],
  ])('times %d is rounded down for each product', (stockFactor, expected) => {
    const { receipts } = planImport(csv('1,A,x,100,1.00,7,UK', '2,Q,x,1,1.00,7,UK'), { stockFactor });
    expect(receipts.map(({ sku, quantity }) => [sku, quantity])).toEqual(expected);
  });
});

describe('a file that cannot be read', () => {
  const problem = (text: string | Uint8Array): string => {
    try {
      planImport(typeof text === 'string' ? text : decodeUtf8(text));
    } catch (error) {
      if (error instanceof CsvError) return error.message;
      throw error;
    }
    return 'none';
  };

  it.each([
    [
      'without a column',
      'InvoiceNo,StockCode,Quantity,UnitPrice,CustomerID\n1,A,1,1,7\n',
      /no column Description, Country/,
    ],
    [
      'with a quote never closed',
      csv('1,A,x,1,1.00,7,UK', '2,A,"x,1,1.00,7,UK'),
      /^Line 3: a quote is opened/,
    ],
    ['with text after a quote', csv('1,A,"x"y,1,1.00,7,UK'), /^Line 2: the quoting is broken/],
    [
      'with a quote inside',
      csv('1,A,x,1,1.00,7,UK', '1,A,12" plate,1,1.00,7,UK'),
      /^Line 3: the quoting is broken/,
    ],
    ['that is empty', '', /empty/],
    ['with a header alone', csv(), /no rows/],
  ])('%s says so', (_, text, message) => expect(problem(text)).toMatch(message));

  it('names the line that is not UTF-8, and how to convert it', () => {
    const latin1 = Buffer.from(csv('1,A,plain,1,1.00,7,UK', '1,B,caf\u00e9,1,1.00,7,UK'), 'latin1');
    expect(problem(latin1)).toMatch(/^Line 3: it is not UTF-8.*iconv/);
    expect(problem(new Uint8Array())).toMatch(/empty/);
  });

  it('but a byte order mark, CRLF, blank lines and another order of columns are fine', () => {
    const text =
      '\uFEFFCountry,Quantity,UnitPrice,CustomerID,InvoiceNo,StockCode,Description,Date\r\nUK,1,1.00,7,1,A,caf\u00e9,x\r\n\r\n';
    const { orders, products } = planImport(decodeUtf8(Buffer.from(text)));
    expect([orders[0]?.invoice, products[0]?.name]).toEqual(['1', 'caf\u00e9']);
  });
});

const file = join(workspaceRoot, '../shared/data/online-retail.csv');

/** The file's sums by another way: the lines split by hand, amounts in pennies from their text. */
function countByHand(text: string): Record<string, number> {
  const sums = { invoices: new Set<string>(), orders: new Set<string>(), returns: new Set<string>() };
  let [rows, rejected, gross, pieces] = [0, 0, 0, 0];
  for (const line of text.split('\n').slice(1)) {
    if (line.trim() === '') continue;
    const fields =
      line.match(/("(?:[^"]|"")*"|[^,]*)(?:,|$)/g)?.map((field) => field.replace(/,$/, '')) ?? [];
    const [invoice = '', code = '', , quantityText = '', priceText = ''] = fields;
    rows += 1;
    if (invoice.startsWith('C')) {
      sums.returns.add(invoice);
      continue;
    }
    sums.invoices.add(invoice);
    const quantity = Number(quantityText);
    const pennies = Math.round(Number(priceText) * 100);
    if (quantity <= 0 || pennies <= 0) {
      rejected += 1;
      continue;
    }
    sums.orders.add(invoice);
    gross += quantity * pennies;
    if (!/^(POST|DOT|M|D|C2|S|BANK CHARGES|AMAZONFEE)$/.test(code)) pieces += quantity;
  }
  return {
    rows,
    rejected,
    gross,
    pieces,
    invoices: sums.invoices.size,
    orders: sums.orders.size,
    returns: sums.returns.size,
  };
}

if (!existsSync(file)) console.warn(`${file} is not there: the plan of the real file is not checked`);

(existsSync(file) ? describe : describe.skip)('the plan of the real file', () => {
  it('has the sums of an independent count', () => {
    const text = decodeUtf8(readFileSync(file));
    const plan = planImport(text);
    expect({
      rows: plan.rows,
      rejected: plan.rejects.length,
      gross: plan.grossMinor,
      pieces: plan.receipts.reduce((sum, { quantity }) => sum + quantity, 0),
      invoices: plan.invoices,
      orders: plan.orders.length,
      returns: plan.returns.invoices,
    }).toEqual(countByHand(text));
    expect(plan.rows).toBe(31_678);
    expect(new Set(plan.orders.map(({ key }) => key)).size).toBe(plan.orders.length);
  });
});
