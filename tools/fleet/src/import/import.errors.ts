import { FlotillaError } from '@flotilla/kernel';

/** Thrown when a file is no CSV that can be imported; nothing has been sent then. Code `CSV_UNREADABLE`. */
export class CsvError extends FlotillaError {
  /** Where in the file, from 1; undefined when it is about the whole file. */
  readonly line: number | undefined;

  constructor(reason: string, line?: number, options: { readonly cause?: unknown } = {}) {
    super('CSV_UNREADABLE', line === undefined ? reason : `Line ${line}: ${reason}`, {
      retry: 'never',
      ...options,
    });
    this.line = line;
  }
}

/** Thrown when the public API refuses a request that the import depends on. Code `API_REFUSED`. */
export class ApiRefusedError extends FlotillaError {
  readonly status: number;
  /** The code of the problem document, or its type or title. */
  readonly problem: string;

  constructor(request: string, status: number, problem: string, detail: string) {
    super('API_REFUSED', `${request} was answered ${status} ${problem}: ${detail}`, { retry: 'never' });
    this.status = status;
    this.problem = problem;
  }
}

/** Thrown when the public API could not be reached, or was too busy, for too long. Code `API_UNAVAILABLE`. */
export class ApiUnavailableError extends FlotillaError {
  constructor(request: string, reason: string, forMs: number, cause?: unknown) {
    super(
      'API_UNAVAILABLE',
      `${request} got no answer for ${Math.round(forMs / 1_000)} s: ${reason}. Is the fleet running ("fleet status")? ` +
        'Run the import again when it is: what was placed is recognised.',
      { cause },
    );
  }
}

/** Thrown when orders, or returns, do not reach their end. Code `IMPORT_STALLED`. */
export class ImportStalledError extends FlotillaError {
  constructor(open: number, forMs: number, sample: readonly string[], what: 'orders' | 'returns' = 'orders') {
    super(
      'IMPORT_STALLED',
      `${open} ${what} have not ended, and none of them has for ${Math.round(forMs / 1_000)} s, for example ` +
        `${sample.join(', ')}. See "fleet saga list" and "fleet dlq list"; the import can be run again.`,
    );
  }
}
