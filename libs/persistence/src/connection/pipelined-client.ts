import { Client, type ClientConfig, type QueryResult, type QueryResultRow } from 'pg';
import { errorCode } from '@flotilla/kernel';
import { DeadlinePassedError, OutsideUnitOfWorkError } from '../persistence.errors.ts';
import { arrayLiteral } from './array-literal.ts';
import { requestCancel, type CancelTarget } from './cancel-request.ts';
import type { Cancellable, DeadlineWatch } from './deadline-watch.ts';
import { StatementNames } from './statement-names.ts';
import { endStatementSpan, startStatementSpan, type DatabaseAddress } from './statement-span.ts';

/** Postgres: a statement that writes, in a transaction that may only read. */
const READ_ONLY_TRANSACTION = '25006';
/** Postgres: among others, "cached plan must not change result type". */
const STALE_PLAN = '0A000';
/** What must be said even when nobody waits any more: the connection would go back into the pool without it. */
const ENDS_TRANSACTION = /^\s*(?:ROLLBACK|COMMIT|END|RELEASE)\b/i;
const CANCEL_WITHIN_MS = 2_000;

// Shared by all connections: which texts are worth a name does not depend on the connection.
const names = new StatementNames(500, 3);

type Rows = QueryResult<QueryResultRow>;

/**
 * The pg client behind every connection of a service. It sends statements without waiting for the answers to those
 * before (pg's pipeline mode; the server still runs them one after another), puts the statements of one tick on the
 * wire together, names statements that repeat, and wraps those under a recorded span in spans of their own.
 *
 * Streams and cursors do not work in pipeline mode; pg refuses them.
 */
export class PipelinedClient extends Client implements Cancellable {
  #corked = false;
  #lost: Error | undefined;
  /** Sees each statement given to `query` before it is sent; with the error that it returns the statement fails. */
  guard: ((text: string) => Error | undefined) | undefined;
  /** Ends the statements given to `query` at the deadline of the code that gave them. */
  readonly watch: DeadlineWatch | undefined = undefined;
  readonly #address: DatabaseAddress;
  /** Statements sent so far, and those of them that are over. */
  #sent = 0;
  #over = 0;

  constructor(config?: string | ClientConfig) {
    super(
      typeof config === 'string'
        ? { connectionString: config, pipeline: true }
        : { ...config, pipeline: true },
    );
    this.#address = { database: this.database ?? '', host: this.host, port: this.port };
    const lose = (error: Error): void => {
      this.#lost ??= error;
    };
    this.on('error', lose);
    this.on('end', () => lose(new Error('The connection was closed')));
    // Once per statement; the one that follows the connecting belongs to none.
    this.connection.on('readyForQuery', () => {
      if (this.#over < this.#sent) this.#over += 1;
    });
    this.on('drain', () => {
      this.#over = this.#sent;
    });
    // The server says why it ends a connection before it does.
    this.connection.on('errorMessage', (message: Error & { readonly severity?: string }) => {
      if (message.severity === 'FATAL' || message.severity === 'PANIC') lose(message);
    });
  }

  /** Why the connection can no longer be used; undefined while it can. */
  get lost(): Error | undefined {
    return this.#lost;
  }

  /** Cuts the connection at once, whatever is under way on it. The server rolls its transaction back. */
  abort(reason: Error): void {
    this.#lost ??= reason;
    this.connection.stream.destroy(reason);
  }

  runs(index: number): boolean {
    return this.#over === index && this.#lost === undefined;
  }

  /** Asks the server to end the statement that it works on; resolves when it knows. */
  cancel(): Promise<void> {
    // pg keeps both, without saying so in its types.
    const { processID, secretKey } = this as unknown as { processID: number; secretKey: number };
    const { host, port } = this;
    const ssl = this.ssl as CancelTarget['ssl'];
    return requestCancel({ host, port, ssl, processId: processID, secretKey }, CANCEL_WITHIN_MS);
  }

  /** Sends a named or unnamed statement; never wrapped in a span. */
  send(text: string, values?: readonly unknown[], name?: string): Promise<Rows> {
    this.#cork();
    this.#sent += 1;
    return super.query({ text, ...(values && { values: values.map(asParameter) }), ...(name && { name }) });
  }

  /** As `query`, with rows of a type. */
  ask<R>(text: string, values: readonly unknown[]): Promise<{ readonly rows: R[] }> {
    return this.#query([text, values]) as Promise<{ readonly rows: R[] }>;
  }

  /** As `ask`, for a statement of the chassis' own making: it is always named, and no guard looks at it. */
  async askNamed<R>(name: string, text: string, values: readonly unknown[]): Promise<R[]> {
    const { rows } = await this.#explained(this.send(text, values, name));
    return rows as unknown as R[];
  }

  /** Wraps the answer to a statement that is shared with others in a span of the caller's, if someone looks. */
  traced<T>(text: string, answer: Promise<T>): Promise<T> {
    const span = startStatementSpan(text, this.#address);
    return span === undefined ? answer : traced(answer, span);
  }

  /** As pg's, for text and values. The signature is `never` only because it stands for all of pg's overloads. */
  override query(...args: readonly unknown[]): never {
    return this.#query(args) as never;
  }

  #query(args: readonly unknown[]): unknown {
    const [text, values, callback] = args;
    if (typeof text !== 'string' || typeof values === 'function' || callback !== undefined) {
      this.#cork();
      this.#sent += 1;
      return Reflect.apply(super.query.bind(this) as (...all: unknown[]) => unknown, undefined, args);
    }
    const refusal = this.guard?.(text);
    if (refusal !== undefined) return Promise.reject(refusal);
    const { watch } = this;
    if (watch === undefined) return this.#ask(text, values);
    const deadline = watch.deadline();
    if (deadline === undefined) return this.#ask(text, values);
    if (watch.isOver(deadline) && !ENDS_TRANSACTION.test(text))
      return Promise.reject(new DeadlinePassedError());
    const index = this.#sent;
    return watch.cutAt(deadline, this, index, this.#ask(text, values));
  }

  #ask(text: string, values: unknown): Promise<Rows> {
    const parameters = Array.isArray(values) && values.length > 0 ? (values as unknown[]) : undefined;
    const result = this.send(text, parameters, parameters && names.nameOf(text));
    const span = startStatementSpan(text, this.#address);
    return span === undefined ? this.#explained(result) : traced(this.#explained(result), span);
  }

  async #explained(result: Promise<Rows>): Promise<Rows> {
    try {
      return await result;
    } catch (error) {
      if (errorCode(error) === READ_ONLY_TRANSACTION) {
        throw new OutsideUnitOfWorkError('Writing to the database', { cause: error });
      }
      // A table has changed under a named statement, which pg would never parse again on this connection.
      if (
        errorCode(error) === STALE_PLAN &&
        error instanceof Error &&
        error.message.includes('cached plan')
      ) {
        this.abort(error);
      }
      throw error;
    }
  }

  /** Keeps what is sent in this tick together, so that it costs one system call and one packet. */
  #cork(): void {
    if (this.#corked) return;
    this.#corked = true;
    const { stream } = this.connection;
    stream.cork();
    process.nextTick(() => {
      this.#corked = false;
      stream.uncork();
    });
  }
}

function asParameter(value: unknown): unknown {
  return Array.isArray(value) ? (arrayLiteral(value) ?? value) : value;
}

async function traced<T>(
  result: Promise<T>,
  span: ReturnType<typeof startStatementSpan> & object,
): Promise<T> {
  try {
    const rows = await result;
    endStatementSpan(span);
    return rows;
  } catch (error) {
    endStatementSpan(span, error);
    throw error;
  }
}
