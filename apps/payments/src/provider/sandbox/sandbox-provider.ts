import { FlotillaError, newId } from '@flotilla/kernel';
import { Injectable, Logger, type OnApplicationShutdown } from '@nestjs/common';
import { Pool } from 'pg';
import { PaymentsConfig } from '../../payments.config.ts';
import {
  PaymentProvider,
  type AuthoriseRequest,
  type ProviderAnswer,
  type RefundRequest,
  type SettleRequest,
} from '../payment-provider.ts';
import type { ProviderStatement, StatementLine } from '../provider-statement.ts';
import { Batches } from './batches.ts';
import { SandboxBooks, type JudgedAuthorisation, type Settlement } from './sandbox-books.ts';

const FLAKY_FAILURES = 2;

/** Thrown for the first requests with the token `tok_flaky`. Code `SANDBOX_PROVIDER_FLAKY`. */
export class SandboxFlakyError extends FlotillaError {
  constructor(key: string, times: number) {
    super(
      'SANDBOX_PROVIDER_FLAKY',
      `The sandbox provider failed on request ${times} with the key "${key}", as its token asks for`,
    );
  }
}

/**
 * A payment provider for development and tests, told by the token what to do. It keeps its own books in its own
 * schema and transactions, as a remote company would, so that its word can be compared with ours.
 */
@Injectable()
export class SandboxProvider extends PaymentProvider implements ProviderStatement, OnApplicationShutdown {
  readonly #pool: Pool;
  readonly #books: SandboxBooks;
  readonly #authorisations: Batches<JudgedAuthorisation, ProviderAnswer>;
  readonly #settlements: Batches<Settlement, ProviderAnswer>;

  constructor(config: PaymentsConfig) {
    super();
    const logger = new Logger(SandboxProvider.name);
    this.#pool = new Pool({
      connectionString: config.databaseUrl,
      max: 3,
      application_name: 'sandbox-provider',
      // What the caller no longer waits for is not worth finishing for ever.
      statement_timeout: 30_000,
    });
    this.#pool.on('error', (error) =>
      logger.warn(`A connection of the sandbox provider broke: ${error.message}`),
    );
    const books = new SandboxBooks(this.#pool);
    this.#books = books;
    this.#authorisations = new Batches({
      limit: 64,
      laneOf: ({ key }) => key,
      run: (asked) => books.decideAuthorisations(asked),
    });
    this.#settlements = new Batches({
      limit: 64,
      laneOf: ({ reference }) => reference,
      run: (asked) => books.decideSettlements(asked),
    });
  }

  override async authorise(
    { key, token, amount }: AuthoriseRequest,
    signal: AbortSignal,
  ): Promise<ProviderAnswer> {
    if (token === 'tok_timeout') return neverAnswer(signal);
    if (token === 'tok_flaky') {
      const times = await orAborted(this.#books.countFlaky(key), signal);
      if (times <= FLAKY_FAILURES) throw new SandboxFlakyError(key, times);
    }
    return orAborted(this.#authorisations.submit({ key, answer: judge(token), ...amount }), signal);
  }

  override capture({ key, reference }: SettleRequest, signal: AbortSignal): Promise<ProviderAnswer> {
    return orAborted(this.#settlements.submit({ kind: 'capture', key, reference }), signal);
  }

  override void({ key, reference }: SettleRequest, signal: AbortSignal): Promise<ProviderAnswer> {
    return orAborted(this.#settlements.submit({ kind: 'void', key, reference }), signal);
  }

  override refund({ key, reference, amount }: RefundRequest, signal: AbortSignal): Promise<ProviderAnswer> {
    return orAborted(this.#settlements.submit({ kind: 'refund', key, reference, ...amount }), signal);
  }

  override lookup(key: string, signal: AbortSignal): Promise<ProviderAnswer | undefined> {
    return orAborted(this.#books.read(key), signal);
  }

  override cancel(key: string, signal: AbortSignal): Promise<ProviderAnswer> {
    return orAborted(this.#books.cancel(key), signal);
  }

  page(after: string | undefined, limit: number, signal: AbortSignal): Promise<readonly StatementLine[]> {
    return orAborted(this.#books.page(after, limit), signal);
  }

  lines(keys: readonly string[], signal: AbortSignal): Promise<readonly StatementLine[]> {
    return orAborted(this.#books.lines(keys), signal);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#pool.end();
  }
}

function judge(token: string): JudgedAuthorisation['answer'] {
  switch (token) {
    case 'tok_ok':
    case 'tok_flaky':
      return { outcome: 'authorised', reference: `auth_${newId()}` };
    case 'tok_declined':
      return { outcome: 'declined', reason: 'declined' };
    case 'tok_insufficient_funds':
      return { outcome: 'declined', reason: 'insufficient_funds' };
    default:
      return { outcome: 'declined', reason: 'unknown_token' };
  }
}

/** As with any remote call, giving up waiting does not take the request back. */
function orAborted<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  return Promise.race([answer, neverAnswer(signal)]);
}

function neverAnswer(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}
