import { storeConformance } from '../test/suites/store-conformance.ts';
import { InMemorySagaStore } from './in-memory-store.ts';

describe('the store in memory', () => {
  storeConformance(async () => {
    const store = new InMemorySagaStore();
    return { store, run: (work) => store.run(work) };
  });
});
