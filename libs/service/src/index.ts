// A service
export { runService } from './run-service.ts';
export {
  FlotillaModule,
  serviceSpecOf,
  type HttpServerOptions,
  type SagaRegistration,
  type ServiceSpec,
} from './flotilla.module.ts';
export { createService, type RunningService } from './create-service.ts';
export type { ServiceParts } from './service-parts.ts';

// Its configuration
export {
  chassisSettings,
  defineConfig,
  describeSettings,
  InvalidConfigError,
  onConfigChange,
  setting,
  type ChassisConfig,
  type ConfigClass,
  type ConfigValues,
  type Setting,
  type SettingDescription,
} from './config/index.ts';

// Its handlers
export { currentDeadline, currentSignal } from './deadline.ts';
export { Independent, Locks, OutsideUnitOfWork, Reaction, Schedule, type LockNames } from './decorators.ts';
export {
  defineProjection,
  on,
  viewOf,
  type Projecting,
  type Projection,
  type ProjectionSpec,
} from './projections/projection.ts';
export {
  greatest,
  key,
  newest,
  once,
  version,
  viewTable,
  type ColumnType,
  type MergeRule,
  type ViewColumn,
  type ViewColumns,
  type ViewRow,
  type ViewTable,
} from './projections/view-table.ts';
export { Projections } from './projections/projections.ts';
export type { ViewRows } from './projections/view-rows.ts';
export { ViewWaits, type ViewWaitsOptions, type Wanted } from './projections/view-waits.ts';
export { withMessageId } from './outgoing.ts';
export { wasReplayed } from './cqrs/remote-calls.ts';
export { Sagas, type Cancellation, type Signalled } from './sagas/sagas.ts';
export { Jobs, type JobOptions } from './jobs.ts';
export type { ScheduleSpec } from './schedules/schedule.options.ts';
export type { ScheduledRun, ScheduledTask } from './schedules/schedule-runner.ts';
export { scheduleSubject } from './schedules/schedule-host.ts';
export { BROKER, CHASSIS_CONFIG, CLOCK } from './tokens.ts';
export { operatorSubject } from './operator-commands.ts';
export { consumersSubject, type ConsumersAnswer } from './consumer-commands.ts';
export type { ConsumerState } from './inbound/durable-consumers.ts';
export { dryRunSubject, type DryRunReport, type RehearsedMessage } from './dry-runs.ts';

// How it calls others
export {
  callPolicy,
  ownerPolicy,
  type CallOptions,
  type CallPolicyOptions,
  type CallPolicySpec,
  type OwnerOptions,
  type QueryFallback,
} from './cqrs/call-policies.options.ts';
export { isFallback } from './cqrs/call-policies.ts';

// Errors
export { InvalidCallPoliciesError } from './cqrs/call-policies.options.ts';
export {
  CallDeadlineError,
  DatabaseUnreachableError,
  ManifestMismatchError,
  NoDatabaseError,
  OutsideHandlerInsideUnitOfWorkError,
  PublishOutsideUnitOfWorkError,
  RemoteCallInsideUnitOfWorkError,
  RemoteFailureError,
  UncleanStopError,
  UnlistedMessageError,
} from './service.errors.ts';
export { ProjectionDefinitionError } from './projections/projections.errors.ts';
