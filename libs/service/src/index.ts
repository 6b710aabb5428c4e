// A service
export { runService } from './run-service.ts';
export { FlotillaModule, serviceSpecOf, type SagaRegistration, type ServiceSpec } from './flotilla.module.ts';
export { createService, type RunningService, type ServiceParts } from './create-service.ts';

// Its configuration
export {
  chassisSettings,
  defineConfig,
  describeSettings,
  InvalidConfigError,
  setting,
  type ChassisConfig,
  type ConfigClass,
  type ConfigValues,
  type Setting,
  type SettingDescription,
} from './config/index.ts';

// Its handlers
export { Locks, OutsideUnitOfWork, Reaction, type LockNames } from './decorators.ts';
export { withMessageId } from './outgoing.ts';
export { wasReplayed } from './cqrs/remote-calls.ts';
export { Sagas, type Cancellation } from './sagas/sagas.ts';
export { Jobs, type JobOptions } from './jobs.ts';
export { BROKER, CHASSIS_CONFIG, CLOCK } from './tokens.ts';
export { operatorSubject } from './operator-commands.ts';

// Errors
export {
  ManifestMismatchError,
  NoDatabaseError,
  PublishOutsideUnitOfWorkError,
  RemoteCallInsideUnitOfWorkError,
  RemoteFailureError,
  UnlistedMessageError,
} from './service.errors.ts';
