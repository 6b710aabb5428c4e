import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { connectNats } from '@flotilla/messaging';
import { FlotillaClient } from '@flotilla/messaging/nest';
import { startTestNats, until } from '@flotilla/testing';
import { jetstreamManager } from '@nats-io/jetstream';
import { Logger, Module, type DynamicModule, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { lastValueFrom } from 'rxjs';
import { startTestService } from '../src/testing/index.ts';
import { BillingConfig, BillingFleetModule } from './migration/billing/fleet.module.ts';
import { GetInvoice } from './migration/billing/get-invoice.ts';
import { start as startAfter } from './migration/billing/main.after.ts';
import { start as startBefore } from './migration/billing/main.before.ts';
import { start as startBoth } from './migration/billing/main.both.ts';
import { provisionAll } from './migration/provision.ts';
import { clients as clientsAfter } from './migration/shop/clients.after.ts';
import { clients as clientsBefore } from './migration/shop/clients.before.ts';
import { Orders } from './migration/shop/orders.ts';

const read = (file: string): string => readFileSync(fileURLToPath(new URL(file, import.meta.url)), 'utf8');
const guide = read('../../../docs/guides/migrate-from-transport-nats.md');

@Module({})
class ShopModule {}

describe('the guide from Transport.NATS', () => {
  const open: (() => Promise<unknown>)[] = [];
  beforeAll(() => {
    Logger.overrideLogger(false);
  });
  afterEach(async () => {
    for (const close of open.splice(0).reverse()) await close();
  });
  const kept = <T extends { close(): Promise<unknown> }>(app: T): T => {
    open.push(() => app.close());
    return app;
  };
  /** The shop, with the clients of one of the steps. */
  async function shopWith(clients: DynamicModule): Promise<INestApplicationContext & { orders: Orders }> {
    const module = { module: ShopModule, imports: [clients], providers: [Orders] };
    const app = kept(await NestFactory.createApplicationContext(module, { logger: false }));
    return Object.assign(app, { orders: app.get(Orders) });
  }

  it('quotes what runs here, to the letter', () => {
    const blocks = [...guide.matchAll(/```ts\n\/\/ (\S+)\n([\s\S]*?)```/g)].map(
      ([, file = '', code = '']) => ({
        file,
        code,
      }),
    );
    expect(blocks.map(({ file }) => file)).toEqual([
      'billing/billing.controller.ts',
      'shop/orders.ts',
      'billing/main.before.ts',
      'shop/clients.before.ts',
      'billing/billing.service.ts',
      'shop/shop.service.ts',
      'provision.ts',
      'billing/main.both.ts',
      'shop/clients.after.ts',
      'billing/main.after.ts',
      'billing/get-invoice.ts',
      'billing/invoices.controller.ts',
      'billing/fleet.module.ts',
    ]);
    // Here the package is known by its path.
    const source = (file: string): string =>
      read(`./migration/${file}`).replace("'../../../src/index.ts'", "'@flotilla/service'");
    for (const { file, code } of blocks) expect(code).toBe(source(file));
  });

  it('leads step by step, with everything working after each', async () => {
    const nats = await startTestNats();
    open.push(() => nats.dispose());
    const admin = kept(await connectNats({ servers: nats.url, name: 'test' }));

    // Before: who is not there misses the event.
    let billing: { close(): Promise<unknown> } = await startBefore(nats.url);
    const old = await shopWith(clientsBefore(nats.url));
    await old.orders.create('o-1', 12);
    await until(() => old.orders.invoice('o-1').catch(() => undefined));
    await expect(old.orders.invoice('o-2')).rejects.toMatchObject({ message: 'no invoice for o-2' });
    await billing.close();

    // Step 2 and 3: streams, then both transports. Old and new callers are served, each event once.
    await provisionAll(nats.url);
    billing = await startBoth(nats.url);
    await old.orders.create('o-2', 20);
    const shop = await shopWith(clientsAfter(nats.url));
    await shop.orders.create('o-3', 30);
    for (const [orderId, amount] of [
      ['o-2', 20],
      ['o-3', 30],
    ] as const) {
      await until(() => shop.orders.invoice(orderId).catch(() => undefined));
      expect([await old.orders.invoice(orderId), await shop.orders.invoice(orderId)]).toEqual([
        amount,
        amount,
      ]);
    }
    await expect(shop.orders.invoice('o-9')).rejects.toMatchObject({ message: 'no invoice for o-9' });
    await billing.close();

    // Step 5: one transport. What is sent while nobody is there arrives.
    await shop.orders.create('o-4', 40);
    billing = kept(await startAfter(nats.url));
    await until(() => shop.orders.invoice('o-4').catch(() => undefined));
    const manager = await jetstreamManager(admin);
    await until(async () => {
      const { ack_floor: floor } = await manager.consumers.info('PATTERNS', 'billing_order=2Ecreated');
      return floor.stream_seq === 2;
    });
  }, 60_000);

  it('ends with a service of the fleet, controllers and all', async () => {
    await using billing = await startTestService({ module: BillingFleetModule, config: BillingConfig });
    const client = new FlotillaClient({ service: 'shop', broker: billing.broker });
    await lastValueFrom(client.emit('order.created', { orderId: 'o-5', amount: 50 }));
    await until(() => lastValueFrom(client.send<number>({ cmd: 'invoice' }, 'o-5')).catch(() => undefined));
    expect(await billing.query(new GetInvoice({ orderId: 'o-1' }))).toEqual({ amount: 12 });
    await expect(billing.query(new GetInvoice({ orderId: 'o-2' }))).rejects.toMatchObject({
      code: 'NoInvoice',
    });
  }, 60_000);
});
