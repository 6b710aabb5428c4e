import { migrate } from '@flotilla/persistence';
import { serviceMigrations } from '@flotilla/service/testing';
import { Client } from 'pg';
import type { Scenario } from '../scenario.ts';
import { databaseUrl, TEMPLATE_TIME, type Databases } from './databases.ts';
import type { SimulatedService } from './services.ts';

const DAY_MS = 86_400_000;
/** More than the outbox looks ahead, so that no simulation has to make partitions. */
const DAYS = 10;

/** A day of the outbox, as `flotilla_add_outbox_day` makes it with SQL that it puts together, which is not simulated. */
function dayPartition(day: number): string {
  const date = (after: number): string =>
    new Date(TEMPLATE_TIME.getTime() + (day + after) * DAY_MS).toISOString().slice(0, 10);
  return `CREATE TABLE outbox_${date(0).replaceAll('-', '_')} PARTITION OF outbox
    FOR VALUES FROM ('${date(0)} 00:00:00+00') TO ('${date(1)} 00:00:00+00')`;
}

/** Migrates a template database for each service, as `fleet migrate` does; simulations copy it. */
export async function prepareTemplates(
  databases: Databases,
  services: readonly SimulatedService[],
): Promise<void> {
  for (const { name, spec } of services) {
    const template = `${name}_template`;
    databases.postgres.createDatabase(template);
    await migrate({ url: databaseUrl(template), migrations: serviceMigrations(spec), schemaOnly: true });
    for (let day = 0; day <= DAYS; day++) await run(template, dayPartition(day), []);
  }
}

/** The products of a scenario, as the orders and inventory services know them when the catalogue has told them. */
export async function stockProducts(
  orders: string,
  inventory: string,
  products: Scenario['products'],
): Promise<void> {
  const skus = products.map(({ sku }) => sku);
  await run(
    orders,
    `INSERT INTO products (sku, name, kind, price_minor, currency, version)
     SELECT sku, sku, 'stocked', price, 'GBP', 1 FROM unnest($1::text[], $2::bigint[]) AS given (sku, price)`,
    [skus, products.map(({ priceMinor }) => priceMinor)],
  );
  await run(
    inventory,
    `INSERT INTO stock (sku, on_hand, reserved, shipped, received)
     SELECT sku, pieces, 0, 0, pieces FROM unnest($1::text[], $2::bigint[]) AS given (sku, pieces)`,
    [skus, products.map(({ onHand }) => onHand)],
  );
}

async function run(database: string, sql: string, parameters: readonly unknown[]): Promise<void> {
  const client = new Client({ connectionString: databaseUrl(database) });
  await client.connect();
  try {
    await client.query(sql, [...parameters]);
  } finally {
    await client.end();
  }
}
