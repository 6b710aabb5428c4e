// A service
export { runService } from './run-service.ts';
export { FlotillaModule, serviceSpecOf, type SagaRegistration, type ServiceSpec } from './flotilla.module.ts';
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
export { withMessageId } from './outgoing.ts';
export { wasReplayed } from './cqrs/remote-calls.ts';
export { Sagas, type Cancellation, type Signalled } from './sagas/sagas.ts';
export { Jobs, type JobOptions } from './jobs.ts';
export type { ScheduleSpec } from './schedules/schedule.options.ts';
export type { ScheduledRun, ScheduledTask } from './schedules/schedule-runner.ts';
export { scheduleSubject } from './schedules/schedule-host.ts';
export { BROKER, CHASSIS_CONFIG, CLOCK } from './tokens.ts';
export { operatorSubject } from './operator-commands.ts';

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
