import { tearDown } from './jest-run.ts';

/** Jest `globalTeardown`: stops what the global setup of this run started, and removes its data. */
export default async function globalTeardown(): Promise<void> {
  await tearDown();
}
