import { SagaVersionConflictError } from '@flotilla/saga';

const MAX_RUNS = 5;

/**
 * Runs a unit of work again at once when its saga was changed meanwhile: somebody waits, and it is better for them than
 * to be told to ask again.
 */
export async function onceMoreOnConflict<T>(run: () => Promise<T>): Promise<T> {
  for (let runs = 1; ; runs++) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof SagaVersionConflictError) || runs === MAX_RUNS) throw error;
    }
  }
}
