import { FlotillaError, type FlotillaErrorOptions } from '@flotilla/kernel';

/** Thrown when a port that a server needs is already listened on. Code `PORT_BUSY`. */
export class PortBusyError extends FlotillaError {
  readonly port: number;

  constructor(port: number, what: string, options: FlotillaErrorOptions = {}) {
    super(
      'PORT_BUSY',
      `${what} cannot listen on 127.0.0.1:${port}: another process already does. ` +
        `Stop that process ("lsof -i :${port}" or "ss -ltnp" shows it) or choose another port.`,
      options,
    );
    this.port = port;
  }
}

/** Thrown when no usable nats-server was found or could be obtained. Code `NATS_SERVER_UNAVAILABLE`. */
export class NatsServerUnavailableError extends FlotillaError {
  /** What was tried, in order, and why each attempt failed. */
  readonly attempts: readonly NatsServerAttempt[];

  constructor(summary: string, attempts: readonly NatsServerAttempt[], advice: string) {
    const lines = attempts.map(({ source, reason }) => `  - ${source}: ${reason}`);
    super('NATS_SERVER_UNAVAILABLE', [summary, ...lines, advice].join('\n'), { retry: 'never' });
    this.attempts = attempts;
  }
}

/** One place where a nats-server was looked for, and why it was not taken from there. */
export interface NatsServerAttempt {
  readonly source: string;
  readonly reason: string;
}

/** Thrown when a command (pip, apt-get, initdb, ...) fails or outlives its time limit. Code `COMMAND_FAILED`. */
export class CommandFailedError extends FlotillaError {
  readonly command: string;
  readonly exitCode: number | null;
  readonly output: string;

  constructor(command: string, reason: string, exitCode: number | null, output: string, cause?: unknown) {
    const detail = output.trim() === '' ? '' : `\n${output.trim()}`;
    super('COMMAND_FAILED', `"${command}" ${reason}${detail}`, { cause });
    this.command = command;
    this.exitCode = exitCode;
    this.output = output;
  }
}

/** Thrown when a server process ends, or stays silent past its deadline, before it is ready. Code `SERVER_START_FAILED`. */
export class ServerStartError extends FlotillaError {
  readonly logFile: string;
  /** The last lines the server wrote. */
  readonly logTail: string;

  constructor(server: string, reason: string, logFile: string, logTail: string, advice = '') {
    const tail = logTail.trim() === '' ? 'It wrote nothing.' : `Its last lines:\n${logTail.trimEnd()}`;
    super(
      'SERVER_START_FAILED',
      `${server} did not start: ${reason}.${advice === '' ? '' : ` ${advice}`} Log: ${logFile}. ${tail}`,
    );
    this.logFile = logFile;
    this.logTail = logTail;
  }
}

/** Thrown when a running nats-server does not take a changed configuration. Code `NATS_RELOAD_FAILED`. */
export class NatsReloadError extends FlotillaError {
  constructor(pid: number, reason: string, options: FlotillaErrorOptions = {}) {
    super(
      'NATS_RELOAD_FAILED',
      `The nats-server (process ${pid}) did not read its configuration again: ${reason}. It goes on with the one before; ` +
        'starting it again makes it take the new one.',
      options,
    );
  }
}

/** Thrown when a data directory belongs to a running server already. Code `DATA_DIRECTORY_IN_USE`. */
export class DataDirectoryInUseError extends FlotillaError {
  readonly directory: string;
  readonly pid: number;

  constructor(server: string, directory: string, pid: number) {
    super(
      'DATA_DIRECTORY_IN_USE',
      `${server} cannot use ${directory}: process ${pid} already serves it. ` +
        'Stop that one first ("fleet down"), or choose another data directory.',
    );
    this.directory = directory;
    this.pid = pid;
  }
}

/** Thrown when a data directory cannot be used as it is: foreign files, permissions. Code `DATA_DIRECTORY_UNUSABLE`. */
export class DataDirectoryUnusableError extends FlotillaError {
  readonly directory: string;

  constructor(directory: string, reason: string, advice: string, options: FlotillaErrorOptions = {}) {
    super('DATA_DIRECTORY_UNUSABLE', `The data directory ${directory} ${reason}. ${advice}`, {
      retry: 'never',
      ...options,
    });
    this.directory = directory;
  }
}

/** Thrown when a data directory was written by another major version of Postgres. Code `POSTGRES_VERSION_MISMATCH`. */
export class PostgresVersionMismatchError extends FlotillaError {
  readonly directory: string;
  readonly found: string;
  readonly expected: string;

  constructor(directory: string, found: string, expected: string) {
    super(
      'POSTGRES_VERSION_MISMATCH',
      `The data directory ${directory} was written by Postgres ${found}; the embedded server is Postgres ${expected} ` +
        `and cannot read it. To start over with empty data, run with --fresh. To keep the data, start a ` +
        `Postgres ${found} on that directory, dump it (pg_dumpall), then restore the dump into a fresh one.`,
      { retry: 'never' },
    );
    this.directory = directory;
    this.found = found;
    this.expected = expected;
  }
}

/** Thrown when the Postgres programs are not installed or do not run. Code `POSTGRES_UNAVAILABLE`. */
export class PostgresUnavailableError extends FlotillaError {
  constructor(reason: string, options: FlotillaErrorOptions = {}) {
    super(
      'POSTGRES_UNAVAILABLE',
      `No usable Postgres: ${reason} Install the optional dependencies ("npm ci" without --omit=optional), ` +
        'or point the services at a Postgres of your own.',
      { retry: 'never', ...options },
    );
  }
}

/** Thrown when an option has a value that cannot work. Code `EMBEDDED_OPTION_INVALID`. */
export class EmbeddedOptionError extends FlotillaError {
  constructor(message: string) {
    super('EMBEDDED_OPTION_INVALID', message, { retry: 'never' });
  }
}
