/** One line of a service's log, as far as it can be read. */
export interface LogLine {
  /** Milliseconds since the epoch; undefined when the line does not say. */
  readonly at: number | undefined;
  readonly level: Level;
  readonly message: string;
  /** Every field of the line. */
  readonly fields: Readonly<Record<string, unknown>>;
}

export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

const pinoLevels: Readonly<Record<number, Level>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};

const severity: Readonly<Record<Level, number>> = {
  trace: 1,
  debug: 2,
  info: 3,
  warn: 4,
  error: 5,
  fatal: 6,
};

/** Whether a level is at least as severe as another. */
export function atLeast(level: Level, least: Level): boolean {
  return severity[level] >= severity[least];
}

/** Reads a line of pino's JSON; undefined for anything else, such as a stack trace that a crash left. */
export function parseLogLine(line: string): LogLine | undefined {
  if (!line.startsWith('{')) return undefined;
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return undefined; // cut off, or no log line: the caller shows it as it is
  }
  const { level, time, msg } = fields;
  const at = typeof time === 'number' ? time : typeof time === 'string' ? Date.parse(time) : undefined;
  return {
    at: Number.isNaN(at) ? undefined : at,
    level: typeof level === 'number' ? (pinoLevels[level] ?? 'info') : isLevel(level) ? level : 'info',
    message: typeof msg === 'string' ? msg : '',
    fields,
  };
}

/** A line for people: what happened, and the error behind it. */
export function condense({ level, message, fields }: LogLine): string {
  const cause = errorOf(fields['err']) ?? errorOf(fields['error']);
  const text = message === '' ? (cause ?? JSON.stringify(fields)) : message;
  const why = cause === undefined || text.includes(cause) ? '' : `: ${cause}`;
  return `${level.toUpperCase().padEnd(5)} ${text}${why}`;
}

function isLevel(value: unknown): value is Level {
  return typeof value === 'string' && Object.hasOwn(severity, value);
}

function errorOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null) return undefined;
  return 'message' in value && typeof value.message === 'string' ? value.message : undefined;
}
