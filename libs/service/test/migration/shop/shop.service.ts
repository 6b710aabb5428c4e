import { defineService } from '@flotilla/contracts-protocol';

export const shopService = defineService({
  name: 'shop',
  database: false,
  patterns: { calls: [{ cmd: 'invoice' }], emits: ['order.created'] },
});
