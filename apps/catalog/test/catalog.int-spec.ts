import {
  DefineProduct,
  GetProduct,
  GetProducts,
  ListProducts,
  ProductDefined,
  ProductPriceChanged,
  type ProductView,
} from '@flotilla/contracts-catalog';
import { newId } from '@flotilla/kernel';
import { startTestService, type TestService } from '@flotilla/service/testing';
import { uniqueName, until } from '@flotilla/testing';
import { CatalogConfig } from '../src/catalog.config.ts';
import { CatalogModule } from '../src/catalog.module.ts';

let catalog: TestService;

beforeAll(async () => {
  catalog = await startTestService({ module: CatalogModule, config: CatalogConfig });
});

afterAll(() => catalog.stop());

const gbp = (amountMinor: number) => ({ amountMinor, currency: 'GBP' });

function mug(sku: string, changed: Partial<{ name: string; amountMinor: number }> = {}): DefineProduct {
  const { name = 'Mug', amountMinor = 255 } = changed;
  return new DefineProduct({ sku, name, kind: 'stocked', price: gbp(amountMinor) });
}

/** The versions of all facts about a SKU, in the order in which they were published. */
function versionsOf(sku: string): number[] {
  return [...catalog.events(ProductDefined), ...catalog.events(ProductPriceChanged)]
    .filter(({ payload }) => payload.sku === sku)
    .map(({ payload }) => payload.version)
    .sort((a, b) => a - b);
}

const pricesOf = (sku: string) =>
  catalog.sql<{ version: number; price: number }>(
    'SELECT version, price_minor::int AS price FROM product_prices WHERE sku = $1 ORDER BY version',
    [sku],
  );

describe('defining products', () => {
  it('creates, renames and reprices, and keeps every price', async () => {
    const sku = uniqueName('mug');
    expect(await catalog.execute(mug(sku))).toEqual({ sku, version: 1, created: true });
    expect(await catalog.execute(mug(sku, { name: 'Big mug' }))).toEqual({ sku, version: 2, created: false });
    expect(await catalog.execute(mug(sku, { name: 'Big mug', amountMinor: 300 }))).toMatchObject({
      version: 3,
    });
    expect(await catalog.execute(mug(sku, { name: 'Mug', amountMinor: 295 }))).toMatchObject({ version: 5 });

    expect(await catalog.query(new GetProduct({ sku }))).toEqual({
      sku,
      name: 'Mug',
      kind: 'stocked',
      price: gbp(295),
      version: 5,
    });
    expect(await pricesOf(sku)).toEqual([
      { version: 1, price: 255 },
      { version: 3, price: 300 },
      { version: 5, price: 295 },
    ]);

    await catalog.eventually(ProductPriceChanged, 2);
    expect(versionsOf(sku)).toEqual([1, 2, 3, 4, 5]);
    const changes = catalog.events(ProductPriceChanged).filter(({ payload }) => payload.sku === sku);
    expect(changes.map(({ payload }) => [payload.previousPrice, payload.price])).toEqual([
      [gbp(255), gbp(300)],
      [gbp(300), gbp(295)],
    ]);
    expect(changes.map(({ envelope }) => [envelope.subject, envelope.aggregateVersion])).toEqual([
      [sku, 3],
      [sku, 5],
    ]);
  });

  it('says nothing when nothing changed', async () => {
    const sku = uniqueName('mug');
    await catalog.execute(mug(sku));
    expect(await catalog.execute(mug(sku))).toEqual({ sku, version: 1, created: false });
    // A later event of the same product comes after all that went before it.
    await catalog.execute(mug(sku, { amountMinor: 1 }));
    await catalog.eventually(ProductPriceChanged);
    expect(versionsOf(sku)).toEqual([1, 2]);
    expect(await pricesOf(sku)).toHaveLength(2);
  });

  it('gives the same command the same answer', async () => {
    const sku = uniqueName('mug');
    const id = newId();
    const first = await catalog.send(mug(sku), { id });
    expect(first).toEqual({ outcome: 'ok', reply: { sku, version: 1, created: true } });
    expect(await catalog.send(mug(sku), { id })).toEqual(first);
    expect(versionsOf(sku)).toEqual([1]);
  });

  it('refuses another kind and another currency', async () => {
    const sku = uniqueName('mug');
    await catalog.execute(mug(sku));
    const charge = new DefineProduct({ sku, name: 'Mug', kind: 'charge', price: gbp(255) });
    await expect(catalog.execute(charge)).rejects.toMatchObject({
      code: 'KindIsFixed',
      data: { sku, kind: 'stocked' },
    });
    const euros = new DefineProduct({
      sku,
      name: 'Mug',
      kind: 'stocked',
      price: { amountMinor: 255, currency: 'EUR' },
    });
    await expect(catalog.execute(euros)).rejects.toMatchObject({
      code: 'CurrencyIsFixed',
      data: { sku, currency: 'GBP' },
    });
    expect(await catalog.query(new GetProduct({ sku }))).toMatchObject({ version: 1, kind: 'stocked' });
  });

  it('takes definitions of one SKU one after another, in two processes', async () => {
    await catalog.startReplica();
    const sku = uniqueName('mug');
    const wanted = Array.from({ length: 60 }, (_, index) =>
      mug(sku, { name: `Mug ${index % 7}`, amountMinor: 100 + (index % 5) }),
    );
    const replies = await Promise.all(wanted.map((definition) => catalog.execute(definition)));
    expect(replies.filter(({ created }) => created)).toHaveLength(1);

    const { version } = await catalog.query(new GetProduct({ sku }));
    expect(version).toBe(Math.max(...replies.map((reply) => reply.version)));
    const everyVersion = Array.from({ length: version }, (_, index) => index + 1);
    await until(() => versionsOf(sku).length >= version);
    expect(versionsOf(sku)).toEqual(everyVersion);
    const prices = await pricesOf(sku);
    expect(prices.every(({ price }, at) => price !== prices[at - 1]?.price)).toBe(true);
  });
});

describe('reading products', () => {
  it('answers which of many exist', async () => {
    const skus = [uniqueName('b'), uniqueName('a')];
    for (const sku of skus) await catalog.execute(mug(sku));
    const { products } = await catalog.query(new GetProducts({ skus: [...skus, 'no such SKU', ...skus] }));
    expect(products.map(({ sku }) => sku)).toEqual([...skus].sort());
    expect(await catalog.query(new GetProducts({ skus: [] }))).toEqual({ products: [] });
  });

  it('says which one does not exist', async () => {
    await expect(catalog.query(new GetProduct({ sku: 'no such SKU' }))).rejects.toMatchObject({
      code: 'ProductNotFound',
      data: { sku: 'no such SKU' },
    });
  });

  it('shows all, page by page, while more are added', async () => {
    const skus = ['page-a', 'page-B', 'page-Ä', 'page-1', 'page-~', 'page-a b', 'page-a.b'];
    for (const sku of skus) await catalog.execute(mug(sku));
    const seen: ProductView[] = [];
    let cursor: string | undefined = 'page-';
    while (cursor !== undefined) {
      const page: { products: ProductView[]; nextCursor?: string | undefined } = await catalog.query(
        new ListProducts({ cursor, limit: 2 }),
      );
      expect(page.products.length).toBeLessThanOrEqual(2);
      seen.push(...page.products.filter(({ sku }) => sku.startsWith('page-')));
      // Before the cursor, where no page comes any more.
      await catalog.execute(mug(uniqueName('a')));
      cursor = page.nextCursor;
    }
    const byBytes = [...skus].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(seen.map(({ sku }) => sku)).toEqual(byBytes);
  });

  it('ends with a page that names no next one', async () => {
    const { products, nextCursor } = await catalog.query(new ListProducts({ limit: 200 }));
    expect(nextCursor).toBeUndefined();
    expect(products.length).toBeGreaterThan(0);
    const last = products.at(-1);
    expect(await catalog.query(new ListProducts({ cursor: last?.sku ?? '' }))).toEqual({ products: [] });
  });
});
