import {
  backoffDelayMs,
  errorCode,
  errorMessage,
  FlotillaError,
  type BackoffOptions,
} from '@flotilla/kernel';

/** How often and how long apart a message is tried. */
export interface DeliveryLimits extends BackoffOptions {
  readonly maxAttempts: number;
}

/** What becomes of a message after an attempt failed. */
export type AfterFailure =
  | { readonly outcome: 'retry'; readonly delayMs: number; readonly why: string }
  | { readonly outcome: 'failed'; readonly why: string };

/** Decides after attempt number `attempt` (1 is the first): errors that say `never` and the last attempt end it. */
export function afterFailure(
  error: unknown,
  attempt: number,
  limits: DeliveryLimits,
  random?: () => number,
): AfterFailure {
  const why = `${errorCode(error)}: ${errorMessage(error)}`;
  if (error instanceof FlotillaError && error.retry === 'never') return { outcome: 'failed', why };
  if (attempt >= limits.maxAttempts) return { outcome: 'failed', why };
  return { outcome: 'retry', delayMs: backoffDelayMs(attempt, limits, random), why };
}

/**
 * Thrown when nobody knows where to write to. Until the order's placement arrived the address may still come; a
 * customer who gave none gets nothing by e-mail.
 */
export class NoAddressError extends FlotillaError {
  constructor(customerId: string, placementKnown: boolean) {
    super(
      'NO_ADDRESS',
      placementKnown
        ? `Customer ${customerId} gave no e-mail address`
        : `The e-mail address of customer ${customerId} is not known yet`,
      { retry: placementKnown ? 'never' : 'later' },
    );
  }
}

/** Thrown when a message used up its attempts without an answer: its process ended each time. */
export class AttemptsExhaustedError extends FlotillaError {
  constructor(attempts: number) {
    super(
      'ATTEMPTS_EXHAUSTED',
      `${attempts} attempts began and none came back: the sender died while sending`,
      {
        retry: 'never',
      },
    );
  }
}
