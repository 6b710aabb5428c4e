export { simulateSaga, SagaSimulation, type SimulationOptions } from './simulate.ts';
export { assertAtRest, assertLawful } from './invariants.ts';
