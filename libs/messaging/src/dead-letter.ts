import { DEAD_LETTER_STREAM, deadLetterSubject } from '@flotilla/contracts-protocol';
import { deterministicId, errorCode, errorMessage } from '@flotilla/kernel';

/** Headers that a dead letter has on top of its message's own. */
export const deadLetterHeader = {
  errorCode: 'flotilla-error-code',
  errorMessage: 'flotilla-error-message',
  errorStack: 'flotilla-error-stack',
  attempts: 'flotilla-attempts',
  service: 'flotilla-service',
  consumer: 'flotilla-consumer',
  originalSubject: 'flotilla-original-subject',
  originalStream: 'flotilla-original-stream',
  originalSequence: 'flotilla-original-sequence',
  diedAt: 'flotilla-died-at',
  history: 'flotilla-history',
} as const;

/** Headers of a dead letter whose body a person has changed. */
export const editHeader = {
  /** 2 for the first change. */
  version: 'flotilla-version',
  /** The sequence of the version before. */
  editedFrom: 'flotilla-edited-from',
} as const;

/** Headers of a replayed message. */
export const replayHeader = {
  /** The sequence of the dead letter that it was. */
  replayOf: 'flotilla-replay-of',
  /** The only consumer that is to handle it; others of the stream have handled the message already. */
  replayFor: 'flotilla-replay-for',
} as const;

/** How many bytes the headers of a dead letter may add to its message. */
export const DEAD_LETTER_HEADROOM_BYTES = 8_192;

const MAX_MESSAGE_CHARS = 500;
const MAX_STACK_CHARS = 2_000;
const MAX_HISTORY_CHARS = 2_000;

/** One failed attempt, as far as the process that wrote the dead letter knows. */
export interface AttemptRecord {
  readonly attempt: number;
  /** ISO 8601. */
  readonly at: string;
  readonly code: string;
  readonly message: string;
}

/** What a dead letter is made of. */
export interface DeadLetterSource {
  readonly service: string;
  readonly consumer: string;
  readonly subject: string;
  readonly stream: string;
  readonly sequence: number;
  readonly attempt: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** A dead letter ready to be published. */
export interface DeadLetterMessage {
  readonly id: string;
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** Makes the dead letter of a message: its own headers and body, and why it died. */
export function deadLetterOf(
  source: DeadLetterSource,
  error: unknown,
  history: readonly AttemptRecord[],
  at: Date,
): DeadLetterMessage {
  const h = deadLetterHeader;
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(source.headers)) {
    // Headers of the server's (expected sequences, ids) were for the original stream.
    if (!name.startsWith('Nats-')) headers[name] = value;
  }
  headers[h.errorCode] = oneLine(errorCode(error), 100);
  headers[h.errorMessage] = oneLine(errorMessage(error), MAX_MESSAGE_CHARS);
  const stack = error instanceof Error ? error.stack : undefined;
  // JSON keeps the line breaks of a stack on one line of header.
  if (stack !== undefined) headers[h.errorStack] = boundedJson(stack, MAX_STACK_CHARS);
  headers[h.attempts] = String(source.attempt);
  headers[h.service] = source.service;
  headers[h.consumer] = source.consumer;
  headers[h.originalSubject] = source.subject;
  headers[h.originalStream] = source.stream;
  headers[h.originalSequence] = String(source.sequence);
  headers[h.diedAt] = at.toISOString();
  headers[h.history] = historyJson(history);
  return {
    // The same for a second try, so that a crash between publishing and settling leaves one dead letter.
    id: deterministicId(
      DEAD_LETTER_STREAM,
      source.consumer,
      source.stream,
      source.sequence,
      headers['ce-id'] ?? '',
    ),
    subject: deadLetterSubject(source.service, source.consumer),
    headers,
    body: source.body,
  };
}

/** What is recorded of one failed attempt. */
export function attemptRecord(attempt: number, error: unknown, at: Date): AttemptRecord {
  return {
    attempt,
    at: at.toISOString(),
    code: oneLine(errorCode(error), 100),
    message: oneLine(errorMessage(error), 200),
  };
}

function historyJson(history: readonly AttemptRecord[]): string {
  for (let from = 0; from < history.length; from++) {
    const json = asciiJson(history.slice(from));
    if (json.length <= MAX_HISTORY_CHARS) return json;
  }
  return '[]';
}

/** The beginning of a text as JSON of at most `maxChars`. */
function boundedJson(text: string, maxChars: number): string {
  for (let chars = maxChars; ; chars = Math.floor(chars / 2)) {
    const json = asciiJson(text.slice(0, chars));
    if (json.length <= maxChars) return json;
  }
}

/** JSON of ASCII only: its length in characters is its length in bytes. */
function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

function oneLine(text: string | undefined, maxChars: number): string {
  return (text ?? '').replace(/\s+/g, ' ').trim().slice(0, maxChars);
}
