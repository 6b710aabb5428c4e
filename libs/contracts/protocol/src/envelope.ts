import { isoTime, type RetryAdvice } from '@flotilla/kernel';
import { MalformedEnvelopeError } from './protocol.errors.ts';
import type { Problem } from './validation.ts';

/** Whether a reply carries the answer, a declared business error, or a technical failure. */
export type ReplyOutcome = 'ok' | 'refused' | 'failed';

/** What travels in the headers of every message: CloudEvents 1.0 attributes and Flotilla's extensions. */
export interface Envelope {
  /** Unique per message; a message that is sent again keeps it. */
  readonly id: string;
  /** `<owner>.<Name>.v<N>`; a reply has the type of its command. */
  readonly type: string;
  /** The service that sent it. */
  readonly source: string;
  /** When it was made, ISO 8601. */
  readonly time: string;
  /** The aggregate id or ordering key. */
  readonly subject: string;
  /** Shared by everything that one request from outside caused. */
  readonly correlationId: string;
  /** The id of the message whose handling sent this one. */
  readonly causationId?: string;
  /** When the caller stops waiting, milliseconds since the epoch. */
  readonly deadline?: number;
  /** The aggregate's version after the event. */
  readonly aggregateVersion?: number;
  /** On a durable command: the subject to which the answer is published. */
  readonly replyTo?: string;
  /** On a reply: what it carries. */
  readonly outcome?: ReplyOutcome;
  /** On a reply: the command had been handled before, and this is the answer of that time. */
  readonly replayed?: boolean;
  /** W3C trace context. */
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** An envelope to be encoded: an undefined field is an absent one, so that all can be named at once. */
export type EnvelopeFields = Pick<Envelope, RequiredField> & {
  readonly [Field in Exclude<keyof Envelope, RequiredField>]?: Envelope[Field] | undefined;
};

type RequiredField = 'id' | 'type' | 'source' | 'time' | 'subject' | 'correlationId';

/** The name of each header on the wire. */
export const envelopeHeader = {
  specVersion: 'ce-specversion',
  id: 'ce-id',
  type: 'ce-type',
  source: 'ce-source',
  time: 'ce-time',
  subject: 'ce-subject',
  correlationId: 'ce-correlationid',
  causationId: 'ce-causationid',
  deadline: 'ce-deadline',
  aggregateVersion: 'ce-aggregateversion',
  replyTo: 'ce-replyto',
  outcome: 'ce-outcome',
  replayed: 'ce-replayed',
  contentType: 'content-type',
  traceparent: 'traceparent',
  tracestate: 'tracestate',
} as const;

let written = { ms: NaN, text: '' };
let read = written;

/** Deadlines of one millisecond and one time-out are the same: each is written, and read, once for all of them. */
function textOfDeadline(ms: number): string {
  if (ms !== written.ms) written = { ms, text: new Date(ms).toISOString() };
  return written.text;
}

function deadlineOf(text: string): number {
  if (text !== read.text) read = { ms: Date.parse(text), text };
  return read.ms;
}

/**
 * The envelope as message headers, in CloudEvents' binary mode. `brief` leaves out a subject and a correlation id that
 * are the message's own id, for which every reader takes them then: a request pays for each header four times.
 */
export function encodeEnvelope(envelope: EnvelopeFields, brief = false): Record<string, string> {
  const h = envelopeHeader;
  const headers: Record<string, string> = {
    [h.specVersion]: '1.0',
    [h.contentType]: 'application/json',
    [h.id]: envelope.id,
    [h.type]: envelope.type,
    [h.source]: envelope.source,
    [h.time]: envelope.time,
  };
  if (!brief || envelope.subject !== envelope.id) headers[h.subject] = envelope.subject;
  if (!brief || envelope.correlationId !== envelope.id) headers[h.correlationId] = envelope.correlationId;
  if (envelope.causationId !== undefined) headers[h.causationId] = envelope.causationId;
  if (envelope.deadline !== undefined) headers[h.deadline] = textOfDeadline(envelope.deadline);
  if (envelope.aggregateVersion !== undefined)
    headers[h.aggregateVersion] = String(envelope.aggregateVersion);
  if (envelope.replyTo !== undefined) headers[h.replyTo] = envelope.replyTo;
  if (envelope.outcome !== undefined) headers[h.outcome] = envelope.outcome;
  if (envelope.replayed === true) headers[h.replayed] = 'true';
  if (envelope.traceparent !== undefined) headers[h.traceparent] = envelope.traceparent;
  if (envelope.tracestate !== undefined) headers[h.tracestate] = envelope.tracestate;
  return headers;
}

/** What an answer says that its request does not. */
export type AnswerFields = Required<Pick<Envelope, 'id' | 'type' | 'source' | 'causationId' | 'outcome'>> &
  Pick<Envelope, 'replayed'>;

/**
 * The headers of an answer that goes back to whoever waits for it. Subject, correlation and trace are those of the
 * request, and the time is now: the asker knows them. {@link decodeAnswer} reads it.
 */
export function encodeAnswer(answer: AnswerFields): Record<string, string> {
  const h = envelopeHeader;
  const headers: Record<string, string> = {
    [h.specVersion]: '1.0',
    [h.contentType]: 'application/json',
    [h.id]: answer.id,
    [h.type]: answer.type,
    [h.source]: answer.source,
    [h.causationId]: answer.causationId,
    [h.outcome]: answer.outcome,
  };
  if (answer.replayed === true) headers[h.replayed] = 'true';
  return headers;
}

/** Reads the envelope of an answer; what it leaves out is as in the headers of its request. */
export function decodeAnswer(
  header: (name: string) => string | undefined,
  request: Readonly<Record<string, string>>,
): Envelope {
  const { id, subject, correlationId } = envelopeHeader;
  return decodeEnvelope((name) => {
    const value = header(name);
    if (value !== undefined || (name !== subject && name !== correlationId)) return value;
    return request[name] ?? request[id];
  });
}

const outcomes: ReadonlySet<string> = new Set<ReplyOutcome>(['ok', 'refused', 'failed']);

/**
 * Reads an envelope from headers. A plain NATS client need send only `ce-id` and `ce-type`: the source is then
 * `unknown`, the time now, the subject and the correlation id those of the message itself. Throws
 * {@link MalformedEnvelopeError} with every problem.
 */
export function decodeEnvelope(header: (name: string) => string | undefined): Envelope {
  const h = envelopeHeader;
  const problems: Problem[] = [];
  const required = (name: string): string => {
    const value = header(name);
    if (value === undefined || value === '') problems.push({ path: name, message: 'is missing' });
    return value ?? '';
  };

  const id = required(h.id);
  const type = required(h.type);
  const specVersion = header(h.specVersion);
  if (specVersion !== undefined && specVersion !== '1.0') {
    problems.push({ path: h.specVersion, message: `is "${specVersion}", only 1.0 is understood` });
  }
  const deadlineText = header(h.deadline);
  const deadline = deadlineText === undefined ? undefined : deadlineOf(deadlineText);
  if (Number.isNaN(deadline))
    problems.push({ path: h.deadline, message: `"${deadlineText}" is not an ISO 8601 time` });
  const versionText = header(h.aggregateVersion);
  const aggregateVersion = versionText === undefined ? undefined : Number(versionText);
  if (aggregateVersion !== undefined && !Number.isInteger(aggregateVersion)) {
    problems.push({ path: h.aggregateVersion, message: `"${versionText}" is not a whole number` });
  }
  const outcome = header(h.outcome);
  if (outcome !== undefined && !outcomes.has(outcome)) {
    problems.push({ path: h.outcome, message: `is "${outcome}", expected ok, refused or failed` });
  }
  if (problems.length > 0) throw new MalformedEnvelopeError(problems);

  const causationId = header(h.causationId);
  const replyTo = header(h.replyTo);
  const traceparent = header(h.traceparent);
  const tracestate = header(h.tracestate);
  // Every message that comes in passes here: assignments cost a fraction of spreads.
  const envelope: { -readonly [Field in keyof Envelope]: Envelope[Field] } = {
    id,
    type,
    source: header(h.source) ?? 'unknown',
    time: header(h.time) ?? isoTime(Date.now()),
    subject: header(h.subject) ?? id,
    correlationId: header(h.correlationId) ?? id,
  };
  if (causationId !== undefined) envelope.causationId = causationId;
  if (deadline !== undefined) envelope.deadline = deadline;
  if (aggregateVersion !== undefined) envelope.aggregateVersion = aggregateVersion;
  if (replyTo !== undefined) envelope.replyTo = replyTo;
  if (outcome !== undefined) envelope.outcome = outcome as ReplyOutcome;
  if (header(h.replayed) === 'true') envelope.replayed = true;
  if (traceparent !== undefined) envelope.traceparent = traceparent;
  if (tracestate !== undefined) envelope.tracestate = tracestate;
  return envelope;
}

/** The body of a reply whose outcome is `refused` (a declared error) or `failed` (a technical failure). */
export interface FailureBody {
  readonly code: string;
  readonly message: string;
  /** The data of a declared error. */
  readonly data?: unknown;
  /** On the wire, what has to wait for something else is `later`: whoever asked need not know more. */
  readonly retry: Exclude<RetryAdvice, 'not-yet'>;
}

/** A failure as it goes over the wire. */
export function failureBody(error: {
  code: string;
  message: string;
  retry?: RetryAdvice;
  data?: unknown;
}): FailureBody {
  return {
    code: error.code,
    message: error.message,
    retry: error.retry === 'never' ? 'never' : 'later',
    ...(error.data !== undefined && { data: error.data }),
  };
}

/** Reads a failure from a reply's body; a body of another shape becomes a failure that says so. */
export function readFailure(body: unknown): FailureBody {
  if (typeof body === 'object' && body !== null && 'code' in body && typeof body.code === 'string') {
    return {
      code: body.code,
      message: 'message' in body && typeof body.message === 'string' ? body.message : body.code,
      retry: 'retry' in body && body.retry === 'never' ? 'never' : 'later',
      ...('data' in body && { data: body.data }),
    };
  }
  return {
    code: 'UNREADABLE_FAILURE',
    message: `The answer is a failure without a code: ${JSON.stringify(body)?.slice(0, 200)}`,
    retry: 'never',
  };
}
