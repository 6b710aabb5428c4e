import { connectNats, provision, topologyOf } from '@flotilla/messaging';
import { billingService } from './billing/billing.service.ts';
import { shopService } from './shop/shop.service.ts';

export async function provisionAll(servers: string): Promise<void> {
  const connection = await connectNats({ servers, name: 'provisioning' });
  await provision(connection, topologyOf([billingService, shopService]));
  await connection.close();
}
