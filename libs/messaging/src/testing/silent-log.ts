import type { MessagingLog } from '../messaging-log.ts';

/** For tests that fail things on purpose. */
export const silentLog: MessagingLog = {
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
