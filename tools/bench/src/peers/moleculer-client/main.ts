import { driveRequests, ready, type QuoteAnswer } from '../../fixtures/quotes.ts';
import { loadPeer } from '../load-peer.ts';
import type { Moleculer } from '../moleculer.ts';

const { ServiceBroker } = loadPeer<Moleculer>('moleculer');
const broker = new ServiceBroker({
  nodeID: 'caller',
  transporter: process.env['NATS_URL'] ?? '',
  logLevel: 'warn',
});
await broker.start();
await broker.waitForServices('quotes', 30_000);
driveRequests(async (question) => (await broker.call('quotes.quote', question)) as QuoteAnswer);
ready();
