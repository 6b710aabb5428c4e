import type { LoggerService } from '@nestjs/common';
import type { Logger } from '../logger.ts';

/** Contexts in which Nest tells what it wires at start: of use when it fails, noise otherwise. */
const wiring = new Set([
  'InstanceLoader',
  'RouterExplorer',
  'RoutesResolver',
  'NestFactory',
  'WebSocketsController',
]);

type PinoMethod = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

/**
 * Nest's logger on pino: `app.useLogger(new NestPinoLogger(logger))`. The Nest context becomes the field `context`,
 * an Error the field `err`, an object fields of the line. Nest's own wiring lines are written at `debug`.
 */
export class NestPinoLogger implements LoggerService {
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  log(message: unknown, ...more: unknown[]): void {
    this.#write('info', message, more);
  }

  warn(message: unknown, ...more: unknown[]): void {
    this.#write('warn', message, more);
  }

  debug(message: unknown, ...more: unknown[]): void {
    this.#write('debug', message, more);
  }

  verbose(message: unknown, ...more: unknown[]): void {
    this.#write('trace', message, more);
  }

  /** Nest calls it with a stack, a context, both or neither after the message. */
  error(message: unknown, ...more: unknown[]): void {
    this.#write('error', message, more);
  }

  fatal(message: unknown, ...more: unknown[]): void {
    this.#write('fatal', message, more);
  }

  #write(method: PinoMethod, message: unknown, more: readonly unknown[]): void {
    const fields: Record<string, unknown> = {};
    const texts = more.filter((item) => typeof item === 'string');
    const context = texts.findLast((text) => !isStack(text));
    const stack = texts.find(isStack);
    const error = [message, ...more].find((item) => item instanceof Error);
    const details = more.filter((item) => typeof item !== 'string' && item !== undefined && item !== error);
    if (context !== undefined) fields['context'] = context;
    if (error !== undefined) fields['err'] = error;
    else if (stack !== undefined) fields['stack'] = stack;
    if (details.length > 0) fields['details'] = details;

    const level = method === 'info' && context !== undefined && wiring.has(context) ? 'debug' : method;
    if (message instanceof Error) this.#logger[level](fields, message.message);
    else if (typeof message === 'object' && message !== null) this.#logger[level]({ ...message, ...fields });
    else this.#logger[level](fields, String(message));
  }
}

function isStack(text: string): boolean {
  return /\n\s+at /.test(text);
}
