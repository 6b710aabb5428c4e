import { backoffDelayMs, errorMessage, FlotillaError, type Clock } from '@flotilla/kernel';
import { DeadlineExceededError, PolicyRegistry, PolicyTimeoutError, type Policy } from '@flotilla/resilience';
import { CLOCK, currentSignal } from '@flotilla/service';
import { Inject, Injectable, Logger } from '@nestjs/common';
import type { RefusalReason } from '../domain/payment.ts';
import { PaymentsConfig } from '../payments.config.ts';
import {
  PaymentProvider,
  type AuthoriseRequest,
  type ProviderAnswer,
  type RefundRequest,
  type SettleRequest,
} from './payment-provider.ts';

/** What an authorisation comes to in the end. */
export type AuthorisationOutcome =
  | { readonly outcome: 'authorised'; readonly reference: string }
  | { readonly outcome: 'declined'; readonly reason: RefusalReason };

/**
 * Thrown when the provider does not say what became of a request. Nothing is lost: the step stays under way and
 * the redelivery asks again. Code `PROVIDER_UNAVAILABLE`.
 */
export class ProviderUnavailableError extends FlotillaError {
  constructor(what: string, cause: unknown) {
    super('PROVIDER_UNAVAILABLE', `The payment provider did not answer to ${what}: ${errorMessage(cause)}`, {
      cause,
    });
  }
}

/** Thrown when the provider gives an answer that does not belong to the question. Code `PROVIDER_MISBEHAVES`. */
export class ProviderMisbehavesError extends FlotillaError {
  constructor(key: string, outcome: string) {
    super(
      'PROVIDER_MISBEHAVES',
      `The payment provider answered "${outcome}" to the request with the key "${key}"`,
      {
        retry: 'never',
      },
    );
  }
}

/** How long an open breaker leaves the provider alone before it tries one call, ms. */
const BREAKER_REST_MS = 5_000;

/**
 * The provider with deadlines, a circuit breaker, and an end to every doubt: a call whose outcome is unknown is
 * looked up by its key, never guessed, and an authorisation that stays unknown is cancelled at the provider. Where a
 * caller waits, it ends with the caller's deadline; what is then unknown stays under way, and the next one asks.
 */
@Injectable()
export class ProviderClient {
  readonly #logger = new Logger(ProviderClient.name);
  readonly #policy: Policy;

  constructor(
    private readonly provider: PaymentProvider,
    private readonly config: PaymentsConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    policies: PolicyRegistry,
  ) {
    this.#policy = policies.create('payment-provider', {
      timeoutMs: config.providerTimeoutMs,
      breaker: {
        threshold: 0.5,
        overCalls: config.providerBreakerCalls,
        halfOpenAfterMs: BREAKER_REST_MS,
      },
    });
  }

  /**
   * Authorises, and always learns whether it did: `provider_unavailable` means that the provider promised never to
   * accept the request. Throws {@link ProviderUnavailableError} if it could not even promise that.
   */
  async authorise(
    request: AuthoriseRequest,
    { askedBefore }: { readonly askedBefore: boolean },
  ): Promise<AuthorisationOutcome> {
    const asked = await this.#ask(
      request.key,
      (signal) => this.provider.authorise(request, signal),
      askedBefore,
    );
    const answer = 'answer' in asked ? asked.answer : await this.cancel(request.key);
    switch (answer.outcome) {
      case 'authorised':
      case 'declined':
        return answer;
      case 'cancelled':
        return { outcome: 'declined', reason: 'provider_unavailable' };
      default:
        throw new ProviderMisbehavesError(request.key, answer.outcome);
    }
  }

  async capture(request: SettleRequest): Promise<ProviderAnswer> {
    return answerOf(
      request,
      await this.#ask(request.key, (signal) => this.provider.capture(request, signal)),
    );
  }

  async void(request: SettleRequest): Promise<ProviderAnswer> {
    return answerOf(request, await this.#ask(request.key, (signal) => this.provider.void(request, signal)));
  }

  async refund(request: RefundRequest): Promise<ProviderAnswer> {
    return answerOf(request, await this.#ask(request.key, (signal) => this.provider.refund(request, signal)));
  }

  /** Makes sure that nothing will ever happen under this key, or learns what did. */
  async cancel(key: string): Promise<ProviderAnswer> {
    let failure: unknown;
    for (let attempt = 1; attempt <= this.config.providerAttempts; attempt += 1) {
      if (attempt > 1) await this.#pause(attempt - 1);
      try {
        return await this.#guarded((signal) => this.provider.cancel(key, signal));
      } catch (error) {
        failure = error;
        this.#report(`cancelling "${key}"`, attempt, error);
        if (error instanceof DeadlineExceededError) break;
      }
    }
    throw new ProviderUnavailableError(`cancelling "${key}"`, failure);
  }

  /** Asks until the outcome is known, or the attempts are used up. */
  async #ask(
    key: string,
    call: (signal: AbortSignal) => Promise<ProviderAnswer>,
    askedBefore = false,
  ): Promise<{ answer: ProviderAnswer } | { failure: unknown }> {
    let failure: unknown;
    let arrived = askedBefore;
    let timedOut = false;
    for (let attempt = 1; attempt <= this.config.providerAttempts; attempt += 1) {
      if (attempt > 1) await this.#pause(attempt - 1);
      try {
        if (arrived) {
          const known = await this.#guarded((signal) => this.provider.lookup(key, signal));
          if (known) return { answer: known };
        }
        // After a time-out the request may still be on its way: another one would only queue up behind it.
        if (timedOut) continue;
        const answer = await this.#guarded((signal) => {
          arrived = true;
          return call(signal);
        });
        return { answer };
      } catch (error) {
        failure = error;
        timedOut ||= arrived && error instanceof PolicyTimeoutError;
        this.#report(`"${key}"`, attempt, error);
        if (error instanceof DeadlineExceededError) break;
      }
    }
    return { failure };
  }

  #guarded<T>(call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#policy.execute(({ signal }) => call(signal));
  }

  #pause(attempt: number): Promise<void> {
    return this.clock.sleep(
      backoffDelayMs(attempt, { initialMs: this.config.providerRetryMs, maxMs: 1_000 }),
      currentSignal(),
    );
  }

  #report(what: string, attempt: number, error: unknown): void {
    this.#logger.warn(
      `Attempt ${attempt} of ${this.config.providerAttempts} to ask the payment provider for ${what} failed: ${errorMessage(error)}`,
    );
  }
}

function answerOf(
  { key }: SettleRequest,
  asked: { answer: ProviderAnswer } | { failure: unknown },
): ProviderAnswer {
  if ('answer' in asked) return asked.answer;
  throw new ProviderUnavailableError(`"${key}"`, asked.failure);
}
