import { createHash } from 'node:crypto';
import { errorCode, errorMessage } from '@flotilla/kernel';

const MAX_CHARS = 200;

/**
 * The message of an error without what differs from one occurrence to the next: ids, numbers and times. What is left
 * is the same for the same fault.
 */
export function normalizeError(message: string): string {
  return message
    .replace(/\s+/g, ' ')
    .trim()
    .replace(
      /\b\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?\b/g,
      '<time>',
    )
    .replace(/\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b/gi, '<id>')
    .replace(/[^\s@"'<>()]+@[^\s@"'<>()]+\.[a-z]{2,}/gi, '<address>')
    .replace(/[\w-]*<id>[\w-]*/g, '<id>')
    .replace(/\b(?=[\w-]*\d)(?=[\w-]*[a-z])[\w-]{6,}/gi, '<id>')
    .replace(/\d+(?:[.,]\d+)*/g, '<n>')
    .slice(0, MAX_CHARS);
}

/** Names the fault that an error is an occurrence of: its code and its message without what differs. */
export function errorGroup(error: unknown): string {
  return `${errorCode(error)}: ${normalizeError(errorMessage(error))}`;
}

/** What dead letters are grouped by. */
export interface GroupedLetter {
  readonly service: string;
  readonly consumer: string;
  readonly type?: string;
  readonly errorCode: string;
  readonly errorMessage: string;
}

/** The key of a dead letter's group: stable, short, made from consumer, contract and fault. */
export function deadLetterGroup({
  service,
  consumer,
  type,
  errorCode: code,
  errorMessage: message,
}: GroupedLetter): string {
  return createHash('sha256')
    .update([service, consumer, type ?? '', code, normalizeError(message)].join('\n'))
    .digest('hex')
    .slice(0, 10);
}
