import { FlotillaError } from '@flotilla/kernel';

/** Thrown when a command is used with an option or argument that cannot work. Code `FLEET_USAGE`. */
export class UsageError extends FlotillaError {
  constructor(message: string) {
    super('FLEET_USAGE', message, { retry: 'never' });
  }
}

/** Thrown when the data directory belongs to a running fleet already. Code `FLEET_ALREADY_RUNNING`. */
export class FleetAlreadyRunningError extends FlotillaError {
  readonly pid: number;

  constructor(dataDir: string, pid: number) {
    super(
      'FLEET_ALREADY_RUNNING',
      `A fleet runs on ${dataDir} already (process ${pid}). See it with "fleet status", stop it with "fleet down", ` +
        'or run a second one with --data DIR and another FLOTILLA_PORT_BASE.',
      { retry: 'never' },
    );
    this.pid = pid;
  }
}

/** Thrown when a command needs a running fleet and there is none. Code `FLEET_NOT_RUNNING`. */
export class FleetNotRunningError extends FlotillaError {
  constructor(dataDir: string) {
    super('FLEET_NOT_RUNNING', `No fleet runs on ${dataDir}. Start one with "npm start" or "fleet up".`, {
      retry: 'never',
    });
  }
}

/** Thrown when the data directory was written by another version of the fleet command. Code `DATA_FORMAT_UNSUPPORTED`. */
export class DataFormatError extends FlotillaError {
  constructor(dataDir: string, found: string, expected: string) {
    super(
      'DATA_FORMAT_UNSUPPORTED',
      `${dataDir} has data of format ${found}; this version reads format ${expected}. Use the version that wrote it, ` +
        'choose another directory with --data DIR, or start over with --fresh (which deletes it).',
      { retry: 'never' },
    );
  }
}

/** Thrown when a directory holds files that are not a fleet's data. Code `DATA_DIRECTORY_FOREIGN`. */
export class ForeignDirectoryError extends FlotillaError {
  constructor(dataDir: string, sample: string) {
    super(
      'DATA_DIRECTORY_FOREIGN',
      `${dataDir} holds other files (${sample}) and is no data directory of a fleet. Choose another with --data DIR.`,
      { retry: 'never' },
    );
  }
}

/** A port that is taken, and what wanted it. */
export interface BusyPort {
  readonly port: number;
  readonly wantedBy: string;
}

/** Thrown when ports that the fleet needs are in use. Code `PORTS_BUSY`. */
export class PortsBusyError extends FlotillaError {
  readonly ports: readonly BusyPort[];

  constructor(ports: readonly BusyPort[]) {
    const lines = ports.map(({ port, wantedBy }) => `  - ${port}, wanted by ${wantedBy}`);
    const first = ports[0]?.port ?? 0;
    super(
      'PORTS_BUSY',
      `Ports of the fleet are in use:\n${lines.join('\n')}\n` +
        `Stop what listens there ("ss -ltnp sport = :${first}" or "lsof -i :${first}" shows it), or move the whole ` +
        'fleet: FLOTILLA_PORT_BASE=4000 npm start.',
    );
    this.ports = ports;
  }
}

/** Thrown when a service is named that there is not. Code `UNKNOWN_SERVICE`. */
export class UnknownServiceError extends FlotillaError {
  constructor(names: readonly string[], known: readonly string[]) {
    super('UNKNOWN_SERVICE', `There is no service ${names.join(', ')}. There are: ${known.join(', ')}.`, {
      retry: 'never',
    });
  }
}

/** Thrown when the folder of a service does not say what it must. Code `INVALID_SERVICE`. */
export class InvalidServiceError extends FlotillaError {
  constructor(folder: string, reason: string) {
    super('INVALID_SERVICE', `${folder}: ${reason}`, { retry: 'never' });
  }
}

/** Thrown when services do not become ready. Code `FLEET_NOT_READY`. */
export class FleetNotReadyError extends FlotillaError {
  constructor(reasons: readonly string[]) {
    super(
      'FLEET_NOT_READY',
      `The fleet did not become ready:\n${reasons.map((each) => `- ${each}`).join('\n')}`,
    );
  }
}

/** Thrown when it is not known where a service's database is. Code `DATABASE_URL_MISSING`. */
export class DatabaseUrlMissingError extends FlotillaError {
  constructor(variables: readonly string[], dataDir: string) {
    super(
      'DATABASE_URL_MISSING',
      `No database is known for: ${variables.join(', ')}. Set these variables, or start the embedded stack ` +
        `("fleet up"), whose addresses are read from ${dataDir}.`,
      { retry: 'never' },
    );
  }
}

/** Thrown when the fleet does not stop in time and had to be killed. Code `FLEET_KILLED`. */
export class FleetKilledError extends FlotillaError {
  constructor(pid: number, afterMs: number) {
    super(
      'FLEET_KILLED',
      `The fleet (process ${pid}) did not stop within ${afterMs / 1_000} s and was killed; its services and servers ` +
        'end by themselves. Its data is as a crash leaves it, which is safe: the next start recovers it.',
      { retry: 'never' },
    );
  }
}

/** Thrown when a document that follows from the code is not valid for its official parser. Code `DOCUMENT_INVALID`. */
export class InvalidDocumentError extends FlotillaError {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(
      'DOCUMENT_INVALID',
      `The documents made from the contracts are not valid:\n- ${problems.join('\n- ')}\n` +
        'Write the schema that is named in another way; nothing was written.',
      { retry: 'never' },
    );
    this.problems = problems;
  }
}
