export { parseDurationMs, formatDurationMs } from './duration.ts';
export { isoTime, systemClock, type Clock, type TimerHandle } from './clock.ts';
export { newId, deterministicId, isUuid, randomHex, timeOfId } from './ids.ts';
export { PARTITIONS, partitionOf } from './partition.ts';
export {
  FlotillaError,
  errorCode,
  errorMessage,
  type FlotillaErrorOptions,
  type RetryAdvice,
} from './errors.ts';
export { backoffDelayMs, type BackoffOptions } from './backoff.ts';
export { withoutPersonalData } from './personal-data.ts';
