import { FlotillaError } from '@flotilla/kernel';

/** Thrown when the command line asks for something that there is not. Code `CHAOS_USAGE`. */
export class ChaosUsageError extends FlotillaError {
  constructor(message: string) {
    super('CHAOS_USAGE', message, { retry: 'never' });
  }
}

/** Thrown when something that a run waits for did not happen in time. Code `CHAOS_TIMED_OUT`. */
export class ChaosTimeoutError extends FlotillaError {
  constructor(what: string, timeoutMs: number, last: string) {
    super('CHAOS_TIMED_OUT', `${what}: not within ${Math.round(timeoutMs / 1_000)} s; ${last}`, {
      retry: 'never',
    });
  }
}

/** Thrown when a fault cannot be injected: what it needs is not there. Code `CHAOS_NOT_INJECTED`. */
export class FaultNotInjectedError extends FlotillaError {
  constructor(fault: string, reason: string, cause?: unknown) {
    super('CHAOS_NOT_INJECTED', `${fault} was not injected: ${reason}`, { retry: 'never', cause });
  }
}
