export { SimulatedBroker } from './simulated-broker.ts';
export { SimulatedJetStream, type ConnectOptions } from './simulated-jetstream.ts';
export type { Crossing, CrossingKind, SimulatedHost, SimulatedNetwork } from './network.ts';
