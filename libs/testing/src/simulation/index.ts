// a world that a seed decides
export {
  currentProcess,
  SimulatedProcess,
  Simulation,
  type RunEnd,
  type SimulationOptions,
} from './simulation.ts';
export { SeededRandom } from './seeded-random.ts';
export { drained, simulateGlobals, type SimulatedGlobals } from './simulated-globals.ts';
export { formatTraceLine, Trace, type TraceLine } from './trace.ts';
