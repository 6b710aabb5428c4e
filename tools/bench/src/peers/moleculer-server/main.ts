import { countedQuote, ready, serveCounts, type QuoteQuestion } from '../../fixtures/quotes.ts';
import { loadPeer } from '../load-peer.ts';
import type { Moleculer } from '../moleculer.ts';

const { ServiceBroker } = loadPeer<Moleculer>('moleculer');
const broker = new ServiceBroker({
  nodeID: 'quoter',
  transporter: process.env['NATS_URL'] ?? '',
  logLevel: 'warn',
});
broker.createService({
  name: 'quotes',
  actions: { quote: ({ params }) => countedQuote(params as QuoteQuestion) },
});
await broker.start();
serveCounts();
ready();
