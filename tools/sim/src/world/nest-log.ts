import type { LoggerService } from '@nestjs/common';
import { currentProcess } from '@flotilla/testing/simulation';

/** Nest's log, told to the trace of the simulation whose process logs; what belongs to none is not kept. */
export const nestLog: LoggerService = {
  log: () => undefined,
  debug: () => undefined,
  verbose: () => undefined,
  warn: (message: unknown) => currentProcess()?.note(`warn: ${textOf(message)}`),
  error: (message: unknown) => currentProcess()?.note(`error: ${textOf(message)}`),
  fatal: (message: unknown) => currentProcess()?.note(`fatal: ${textOf(message)}`),
};

function textOf(message: unknown): string {
  if (typeof message === 'object' && message !== null && 'msg' in message) return String(message.msg);
  return String(message);
}
