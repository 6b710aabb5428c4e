export { defineCommand, defineEvent, defineQuery, contractOf, isMessage } from './define.ts';
export type {
  AnyMessage,
  AnyMessageClass,
  CommandClass,
  CommandSpec,
  Contract,
  DurableCommandClass,
  ErrorsOf,
  EventClass,
  EventSpec,
  MessageKind,
  PayloadOf,
  QueryClass,
  QuerySpec,
  ReplyOf,
} from './define.ts';
export {
  BusinessError,
  InvalidMessageError,
  InvalidReplyError,
  MalformedEnvelopeError,
} from './protocol.errors.ts';
export { parseWith, problemsOf, type Problem } from './validation.ts';
export {
  decodeAnswer,
  decodeEnvelope,
  encodeAnswer,
  encodeEnvelope,
  envelopeHeader,
  failureBody,
  readFailure,
  type AnswerFields,
  type Envelope,
  type EnvelopeFields,
  type FailureBody,
  type ReplyOutcome,
} from './envelope.ts';
export {
  commandFilter,
  commandSubject,
  commandStream,
  DEAD_LETTER_STREAM,
  deadLetterSubject,
  eventFilter,
  eventStream,
  eventSubject,
  keyOfToken,
  replyFilter,
  replyStream,
  replySubject,
  rpcSubject,
  subjectToken,
  type ContractName,
} from './subjects.ts';
export {
  contractNameOf,
  hasWildcard,
  isContractClass,
  PATTERN_EVENTS,
  PATTERN_STREAM,
  patternEventFilter,
  patternEventStream,
  patternEventSubject,
  patternRequestSubject,
  patternRoute,
  routeOfSubject,
  type Pattern,
  type PatternObject,
  type PatternUse,
} from './patterns.ts';
export { jsonSchemaOf, type ContractSchema, type SchemaDialect } from './json-schema.ts';
export {
  contractsOf,
  defineService,
  type EventReaction,
  type ServiceManifest,
  type ServiceManifestSpec,
} from './service-manifest.ts';
