// unit of work
export { UnitOfWork, type OutboxSink, type UnitOfWorkOptions } from './unit-of-work/unit-of-work.ts';
export {
  currentUnitOfWork,
  requireUnitOfWork,
  type ActiveUnitOfWork,
} from './unit-of-work/active-unit-of-work.ts';
export {
  rehearse,
  type Rehearsal,
  type RehearseOptions,
  type RowChange,
  type TableChange,
} from './unit-of-work/rehearsal.ts';
export { defineBulk, type BulkStatement } from './unit-of-work/bulk-statement.ts';
export type { InboxEntry, Processed, ProcessOptions, RunOptions } from './unit-of-work/submission.ts';
export type { UnitOfWorkLimits } from './unit-of-work/unit-of-work.options.ts';

// connections
export { createDataSource, type DataSourceOptions } from './connection/data-source.ts';
export type { DatabaseConnection } from './connection/connection.options.ts';

// Nest
export {
  PersistenceModule,
  type PersistenceModuleAsyncOptions,
  type PersistenceModuleOptions,
  type PersistenceOptions,
} from './nest/persistence.module.ts';
export { PersistenceRuntime } from './nest/persistence-runtime.ts';
export { transactionalManager, transactionalRepository } from './nest/transactional-repository.ts';

// outbox
export { Outbox, type OutboxOptions, type OutboxStats } from './outbox/outbox.ts';
export type { OutboxLimits } from './outbox/outbox.options.ts';
export type { MaintenanceReport } from './outbox/outbox-maintenance.ts';
export type {
  ReconcileOptions,
  ReconcileReport,
  StreamState,
  StreamView,
} from './outbox/outbox-reconciler.ts';
export { OUTBOX_CHANNEL, type OutboxRow } from './outbox/outbox-row.ts';
export type {
  HandoverReceipt,
  OutboxPublisher,
  OutgoingMessage,
  PublishReceipt,
} from './outbox/outgoing-message.ts';

// migrations
export {
  assertMigrated,
  chassisMigrations,
  migrate,
  pendingMigrations,
  type MigrateOptions,
  type MigrateReport,
  type Migration,
  type MigrationClass,
} from './migrate.ts';

// reporting
export type { PersistenceLog } from './log.ts';
export type { GroupOutcome, PersistenceMetrics } from './metrics.ts';

// errors
export {
  ApplicationRoleError,
  CommitOutcomeUnknownError,
  DatabaseUnavailableError,
  DeadlinePassedError,
  IdempotencyConflictError,
  MigrationFailedError,
  MigrationsPendingError,
  NestedProcessError,
  OutsideUnitOfWorkError,
  PersistenceClosedError,
  PersistenceOptionsError,
  TransactionControlError,
  UnitOfWorkFailedError,
  UnitOfWorkOverError,
  UnitOfWorkOverloadedError,
  UnitOfWorkTimedOutError,
  UnstorableError,
} from './persistence.errors.ts';
