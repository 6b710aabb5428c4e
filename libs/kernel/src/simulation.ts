export { simulateIds } from './ids.ts';
