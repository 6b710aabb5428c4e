import { defineService } from '@flotilla/contracts-protocol';

export const billingService = defineService({
  name: 'billing',
  database: false,
  patterns: { answers: [{ cmd: 'invoice' }], reacts: ['order.created'] },
});
