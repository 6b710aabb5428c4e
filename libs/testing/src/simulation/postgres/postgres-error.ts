/** What a Postgres error says beside its message. */
export interface PostgresErrorDetails {
  readonly detail?: string;
  readonly hint?: string;
  readonly schema?: string;
  readonly table?: string;
  readonly column?: string;
  readonly constraint?: string;
}

/** An error as the server reports it: `code` is the SQLSTATE. */
export class PostgresError extends Error {
  readonly code: string;
  readonly severity: 'ERROR' | 'FATAL';
  readonly details: PostgresErrorDetails;

  constructor(
    code: string,
    message: string,
    details: PostgresErrorDetails = {},
    severity: 'ERROR' | 'FATAL' = 'ERROR',
  ) {
    super(message);
    this.code = code;
    this.severity = severity;
    this.details = details;
  }
}

/** The clause, function or type that the simulated Postgres does not know. */
export function unsupported(what: string): PostgresError {
  return new PostgresError('0A000', `The simulated Postgres does not know ${what}`, {
    hint: 'Add it to libs/testing/src/simulation/postgres, with a case in the differential test.',
  });
}
