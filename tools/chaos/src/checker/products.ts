import { together, type Source } from './merge.ts';
import type { Findings } from './report.ts';
import type { Snapshot } from './snapshot.ts';
import { differing } from './view.ts';

interface ProductRow {
  readonly sku: string;
  readonly name: string;
  readonly kind: string;
  readonly price_minor: string;
  readonly currency: string;
  readonly version: number;
}

interface VersionRow {
  readonly sku: string;
  readonly version: string;
}

const bySku = <R extends { readonly sku: string }>(snapshot: Snapshot, sql: string): Source<R> => ({
  rows: snapshot.stream<R>(`${sql} COLLATE "C"`),
  keyOf: ({ sku }) => sku,
});

/** The catalogue, its audit trail, and what other services have copied of it. */
export async function checkProducts(
  {
    catalog,
    orders,
    inventory,
  }: { readonly catalog: Snapshot; readonly orders: Snapshot; readonly inventory: Snapshot },
  whole: boolean,
  findings: Findings,
): Promise<void> {
  const columns = 'sku, name, kind, price_minor, currency, version';
  const sources = {
    products: bySku<ProductRow>(catalog, `SELECT ${columns} FROM products ORDER BY sku`),
    copies: bySku<ProductRow>(orders, `SELECT ${columns} FROM products ORDER BY sku`),
    kinds: bySku<{ sku: string; kind: string }>(
      inventory,
      'SELECT sku, kind FROM product_kinds ORDER BY sku',
    ),
    events: {
      rows: catalog.stream<VersionRow>(
        `SELECT key AS sku, headers->>'ce-aggregateversion' AS version FROM outbox
          WHERE subject LIKE 'evt.catalog.%' AND headers->>'flotilla-replay-for' IS NULL ORDER BY key COLLATE "C", position`,
      ),
      keyOf: ({ sku }: VersionRow) => sku,
    },
  };
  for await (const [sku, { products, copies, kinds, events }] of together(sources)) {
    findings.count('copied products');
    const [product] = products;
    const complain = (what: string): void => findings.violate('copied products', sku, what);
    if (product === undefined) {
      complain('there is a copy or an event of it, and no such product');
      continue;
    }
    const { name, kind, price_minor, currency, version } = product;
    const [copy] = copies;
    if (copy === undefined) complain('orders does not know it');
    else {
      const wrong = differing({ ...copy }, { name, kind, price_minor, currency, version });
      if (wrong.length > 0) complain(`orders knows it with ${wrong.join(', ')}`);
    }
    if (kinds[0]?.kind !== kind) complain(`inventory knows it as ${kinds[0]?.kind ?? 'nothing'} for ${kind}`);
    if (!whole) continue;
    findings.count('audit trail', events.length);
    events.forEach((event, index) => {
      if (Number(event.version) !== index + 1)
        findings.violate('audit trail', sku, `version ${event.version} comes where ${index + 1} should`);
    });
    if (events.length !== version)
      findings.violate('audit trail', sku, `it has version ${version}, and ${events.length} events`);
  }
}
