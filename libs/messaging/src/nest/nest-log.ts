import { Logger } from '@nestjs/common';
import type { MessagingLog } from '../messaging-log.ts';

/** What the broker logs, through Nest's logger. */
export function nestLog(context: string): MessagingLog {
  const logger = new Logger(context);
  return {
    info: (fields, message) => logger.log({ msg: message, ...fields }),
    warn: (fields, message) => logger.warn({ msg: message, ...fields }),
    error: (fields, message) => logger.error({ msg: message, ...fields }),
  };
}
