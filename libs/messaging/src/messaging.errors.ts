import { FlotillaError } from '@flotilla/kernel';

/** Thrown when the broker cannot be reached, or the connection broke with the outcome unknown. */
export class BrokerUnavailableError extends FlotillaError {
  constructor(what: string, reason: string, cause?: unknown) {
    super(
      'BROKER_UNAVAILABLE',
      `${what}: ${reason}. It can be tried again: messages are recognised by their id.`,
      {
        cause,
      },
    );
  }
}

/** Thrown when a file for the encrypted connection to NATS cannot be used. Code `NATS_TLS_UNUSABLE`. */
export class NatsTlsError extends FlotillaError {
  /** The setting that names the file: `NATS_TLS_CA`. */
  readonly setting: string;
  readonly file: string;

  constructor(setting: string, file: string, reason: string, cause?: unknown) {
    super('NATS_TLS_UNUSABLE', `${setting}, the file ${file}: ${reason}`, { retry: 'never', cause });
    this.setting = setting;
    this.file = file;
  }
}

/** Thrown when a stream did not acknowledge a message in time; it may have been stored. */
export class PublishTimeoutError extends FlotillaError {
  readonly subject: string;
  readonly timeoutMs: number;

  constructor(subject: string, timeoutMs: number) {
    super(
      'PUBLISH_TIMEOUT',
      `No acknowledgement of the message to ${subject} within ${timeoutMs} ms. It may be stored; publishing it again is safe.`,
    );
    this.subject = subject;
    this.timeoutMs = timeoutMs;
  }
}

/** Thrown when no stream takes a subject: the topology is not provisioned, or JetStream is off. */
export class NoStreamError extends FlotillaError {
  readonly subject: string;

  constructor(subject: string) {
    super('NO_STREAM', `No stream takes messages to ${subject}: run \`fleet provision\`, or start JetStream`);
    this.subject = subject;
  }
}

/** Thrown when a stream or the server refuses a message; the reason is the server's. */
export class PublishRefusedError extends FlotillaError {
  readonly subject: string;
  readonly reason: string;

  constructor(subject: string, reason: string, retry: 'never' | 'later' = 'later') {
    super('PUBLISH_REFUSED', `The message to ${subject} was refused: ${reason}`, { retry });
    this.subject = subject;
    this.reason = reason;
  }
}

/** Thrown when a stream does not take messages together; one by one it may. Code `BATCH_REFUSED`. */
export class BatchRefusedError extends FlotillaError {
  constructor(subject: string, size: number, reason: string) {
    super('BATCH_REFUSED', `The stream of ${subject} refuses a batch of ${size} messages: ${reason}`);
  }
}

/** Thrown when a message does not fit the server's limit, less the room that its dead letter would need. */
export class MessageTooLargeError extends FlotillaError {
  readonly subject: string;
  readonly bytes: number;
  readonly maxBytes: number;

  constructor(subject: string, bytes: number, maxBytes: number) {
    super(
      'MESSAGE_TOO_LARGE',
      `The message to ${subject} has ${bytes} bytes, at most ${maxBytes} are possible: send a reference, or raise max_payload of the server`,
      { retry: 'never' },
    );
    this.subject = subject;
    this.bytes = bytes;
    this.maxBytes = maxBytes;
  }
}

/** Thrown when a header's value has a line break, which would end the header. */
export class InvalidHeaderError extends FlotillaError {
  constructor(name: string) {
    super('INVALID_HEADER', `The value of header ${JSON.stringify(name)} has a line break: encode it`, {
      retry: 'never',
    });
  }
}

/** Thrown at once when nobody serves the subject of a request. */
export class NoRespondersError extends FlotillaError {
  readonly subject: string;

  constructor(subject: string) {
    super('NO_RESPONDERS', `Nobody answers ${subject}: is the service that owns it running?`);
    this.subject = subject;
  }
}

/** Thrown when a request was not answered in time; it may have been, or still be, handled. */
export class RequestTimeoutError extends FlotillaError {
  readonly subject: string;
  readonly timeoutMs: number;

  constructor(subject: string, timeoutMs: number) {
    super('REQUEST_TIMEOUT', `No answer to ${subject} within ${timeoutMs} ms`);
    this.subject = subject;
    this.timeoutMs = timeoutMs;
  }
}

/** Thrown when the caller stopped waiting for an answer. */
export class RequestAbortedError extends FlotillaError {
  constructor(subject: string, cause: unknown) {
    super('REQUEST_ABORTED', `The caller stopped waiting for the answer to ${subject}`, { cause });
  }
}

/** Answered when as many requests run as a server allows. */
export class OverloadedError extends FlotillaError {
  constructor(subject: string, maxInFlight: number) {
    super(
      'OVERLOADED',
      `${subject} handles ${maxInFlight} requests already: try again later, or scale the service out`,
    );
  }
}

/** Answered when the caller of a request no longer waits for the answer. */
export class DeadlineExceededError extends FlotillaError {
  constructor(subject: string, lateMs: number) {
    super(
      'DEADLINE_EXCEEDED',
      `The request to ${subject} came ${lateMs} ms after its deadline and was not handled`,
      {
        retry: 'never',
      },
    );
  }
}

/** Thrown when a message's body is not JSON. */
export class UndecodableMessageError extends FlotillaError {
  constructor(subject: string, cause: unknown) {
    super('UNDECODABLE_MESSAGE', `The body of the message on ${subject} is not JSON`, {
      cause,
      retry: 'never',
    });
  }
}

/** Thrown when a consumer gets a type of message that its service does not handle. */
export class UnknownMessageError extends FlotillaError {
  readonly type: string;

  constructor(type: string, consumer: string) {
    super(
      'UNKNOWN_MESSAGE',
      `${consumer} has no handler for ${type}: add one, or provision the topology again`,
      {
        retry: 'never',
      },
    );
    this.type = type;
  }
}

/** The reason of a dead letter that was delivered too often: it ends its process, or its handler is stuck, each time. */
export class DeliveryCountExceededError extends FlotillaError {
  constructor(attempt: number, trials: number) {
    super(
      'DELIVERY_COUNT_EXCEEDED',
      `Delivery ${attempt} of a message whose handler ended the process, or was stuck, the last ${trials} times, while nothing else under suspicion ran`,
      { retry: 'never' },
    );
  }
}

/** Thrown when the NATS server is older than what Flotilla is built on. */
export class UnsupportedServerError extends FlotillaError {
  readonly version: string;

  constructor(version: string, oldest: string) {
    super(
      'UNSUPPORTED_SERVER',
      `NATS server ${version || '(unknown version)'} is too old, ${oldest} is the oldest supported: upgrade it`,
      { retry: 'never' },
    );
    this.version = version;
  }
}

/** Thrown when a cluster has, for longer than it was waited for, too few servers for the copies of a stream. */
export class TooFewServersError extends FlotillaError {
  constructor(stream: string, copies: number, cause: Error) {
    super(
      'TOO_FEW_SERVERS',
      `The cluster has no place for ${copies === 1 ? 'one copy' : `${copies} copies`} of the stream ${stream} (${cause.message}): start the servers that are away, or ask for fewer copies`,
      { retry: 'later', cause },
    );
  }
}

/** One field of a stream or consumer that is not as it must be. */
export interface Drift {
  /** `stream EVT_orders` or `consumer EVT_orders/tracking-orders`. */
  readonly resource: string;
  readonly field: string;
  readonly expected: unknown;
  readonly actual: unknown;
  /** Why the server did not take the change, if it said so. */
  readonly reason?: string;
}

/** Thrown when streams or consumers on the server are not what the topology says; lists every field. */
export class ProvisioningDriftError extends FlotillaError {
  readonly drifts: readonly Drift[];

  constructor(drifts: readonly Drift[]) {
    const lines = drifts.map(({ resource, field, expected, actual, reason }) => {
      const why = reason === undefined ? '' : ` (${reason})`;
      return `- ${resource}: ${field} should be ${JSON.stringify(expected)} and is ${JSON.stringify(actual)}${why}`;
    });
    super(
      'PROVISIONING_DRIFT',
      `The server's streams or consumers are not as the contracts say:\n${lines.join('\n')}\n` +
        'Run `fleet provision`; what the server cannot change must be deleted first, its messages with it.',
      { retry: 'never' },
    );
    this.drifts = drifts;
  }
}

/** Thrown when streams or consumers that a service needs are not there. */
export class MissingTopologyError extends FlotillaError {
  readonly missing: readonly string[];

  constructor(missing: readonly string[], service?: string) {
    const whose = service === undefined ? '' : `, and ${service} needs it`;
    super('MISSING_TOPOLOGY', `Not on the server${whose}: ${missing.join(', ')}. Run \`fleet provision\`.`);
    this.missing = missing;
  }
}

/**
 * Thrown when the body that a message refers to is not there: it was lost, or is not there yet. Tried again; the sender
 * writes it again with the message.
 */
export class PayloadMissingError extends FlotillaError {
  constructor(name: string) {
    super(
      'PAYLOAD_MISSING',
      `The body of the message is not in the stream PAYLOADS (${name}): it has expired or was lost. When its sender has published it again, replay it`,
    );
  }
}

/** Thrown when the body that a message refers to is another than the message says. */
export class PayloadCorruptError extends FlotillaError {
  constructor(subject: string, name: string) {
    super(
      'PAYLOAD_CORRUPT',
      `The body of a message on ${subject} is not what its reference says (${name}): size or SHA-256 differ`,
      { retry: 'never' },
    );
  }
}

/** Thrown when somebody else changed a setting after it was looked at. */
export class ConfigConflictError extends FlotillaError {
  constructor(service: string, key: string, cause: unknown) {
    super(
      'CONFIG_CONFLICT',
      `${key} of ${service} was changed by somebody else meanwhile: look at it (\`fleet config history ${service} ${key}\`), then set it again`,
      { cause },
    );
  }
}

/** Thrown when a dead letter is not, or no longer, there. */
export class DeadLetterNotFoundError extends FlotillaError {
  readonly sequence: number;

  constructor(sequence: number) {
    super(
      'DEAD_LETTER_NOT_FOUND',
      `There is no dead letter ${sequence}: \`fleet dlq list\` shows those that are`,
      {
        retry: 'never',
      },
    );
    this.sequence = sequence;
  }
}

/** Thrown when options are not usable; lists every problem. */
export class InvalidMessagingOptionsError extends FlotillaError {
  constructor(what: string, problems: readonly string[]) {
    super('INVALID_MESSAGING_OPTIONS', `${what}: ${problems.join('; ')}`, { retry: 'never' });
  }
}
