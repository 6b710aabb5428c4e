// the seam
export type {
  Broker,
  BrokerHealth,
  ConsumeOptions,
  ConsumerName,
  Consumption,
  ConsumptionState,
  StuckReason,
  Delivery,
  IncomingMessage,
  OutgoingMessage,
  OutgoingReply,
  PublishReceipt,
  RequestOptions,
  ServeOptions,
  ServiceAnnouncement,
  Serving,
  Stoppable,
  StopOptions,
  WatchedMessage,
} from './broker.ts';
export { decodeMessage } from './message.ts';
export type { ConsumerPause, KillSwitchOptions } from './kill-switch.ts';
export { settlementOf, type Settlement, type SettlementOptions } from './settlement.ts';

// NATS
export { NatsBroker, type NatsBrokerOptions } from './nats/nats-broker.ts';
export {
  connectNats,
  inboxPrefixOf,
  type ConnectNatsOptions,
  type NatsCredentials,
} from './nats/connect-nats.ts';
export type { NatsTls } from './nats/nats-tls.ts';
export { PayloadStore, readPayload, type PayloadStoreOptions } from './nats/payload-store.ts';
export type { PullOptions } from './nats/pull-loop.ts';
export { streamReader, type StreamMessage, type StreamReader } from './nats/stream-reader.ts';
export { streamView, type StreamState, type StreamView } from './nats/stream-view.ts';
export { assertServerVersion, OLDEST_SERVER } from './nats/server-version.ts';

// in memory, for tests
export { InMemoryBroker, InMemoryNetwork, type InMemoryBrokerOptions } from './memory/in-memory-broker.ts';
export type { StoredMessage } from './memory/stream-log.ts';

// topology
export {
  AUDIT_STREAM,
  commandConsumer,
  CONFIG_STREAM,
  configSubject,
  MANAGED_METADATA,
  partitionConsumer,
  patternConsumer,
  PAYLOAD_STREAM,
  payloadHeader,
  QUEUE_METADATA,
  reactionConsumer,
  replyConsumer,
  topologyOf,
  type ConsumerSpec,
  type StreamSpec,
  type Topology,
  type TopologyOptions,
} from './topology.ts';
export {
  provision,
  verifyTopology,
  type ProvisionOptions,
  type ProvisionReport,
  type VerifyOptions,
} from './provision.ts';

export {
  auditorPermissions,
  FLEET_USERS,
  operatorPermissions,
  permissionsOf,
  provisionerPermissions,
  type BrokerPermissions,
  type PermissionsOptions,
} from './permissions.ts';

// settings that change without a restart
export { ConfigBucket, type ConfigChange, type ConfigEntry } from './config-bucket.ts';

// dead letters
export {
  DeadLetters,
  type DeadLetter,
  type DeadLetterFilter,
  type DeadLetterGroup,
  type ListDeadLettersOptions,
  type ReplayManyOptions,
  type ReplayManyReport,
  type ReplayOptions,
} from './dead-letters.ts';
export { deadLetterHeader, editHeader, replayHeader, type AttemptRecord } from './dead-letter.ts';
export { deadLetterGroup, errorGroup, normalizeError, type GroupedLetter } from './error-group.ts';
export { AuditTrail, type AuditEntry, type AuditFilter, type NewAuditEntry } from './audit-trail.ts';

// observation
export { noMessagingMetrics, type HealReason, type MessagingMetrics } from './messaging-metrics.ts';
export { stderrLog, type MessagingLog } from './messaging-log.ts';

// errors
export {
  BatchRefusedError,
  BrokerUnavailableError,
  ConfigConflictError,
  DeadLetterNotFoundError,
  DeadlineExceededError,
  DeliveryCountExceededError,
  InvalidHeaderError,
  InvalidMessagingOptionsError,
  MessageTooLargeError,
  MissingTopologyError,
  NatsTlsError,
  NoRespondersError,
  NoStreamError,
  OverloadedError,
  PayloadCorruptError,
  PayloadMissingError,
  ProvisioningDriftError,
  PublishRefusedError,
  PublishTimeoutError,
  RequestAbortedError,
  RequestTimeoutError,
  UndecodableMessageError,
  UnknownMessageError,
  TooFewServersError,
  UnsupportedServerError,
  type Drift,
} from './messaging.errors.ts';
