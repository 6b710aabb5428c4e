export { brokerConformance, type BrokerHarness, type SeenDeadLetter } from './conformance.ts';
export { conformanceTopology } from './conformance-messages.ts';
