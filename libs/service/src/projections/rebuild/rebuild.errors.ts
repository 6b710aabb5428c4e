import { FlotillaError, type RetryAdvice } from '@flotilla/kernel';

/** Thrown when a rebuild is asked for that cannot be, or cannot go on at the moment. Code `REBUILD_REFUSED`. */
export class RebuildRefusedError extends FlotillaError {
  constructor(reason: string, retry: RetryAdvice = 'later') {
    super('REBUILD_REFUSED', reason, { retry });
  }
}
