// Declaring a saga
export {
  defineSaga,
  type CancelDecision,
  type SagaDefinition,
  type SagaOptions,
  type Stretch,
} from './definition/define-saga.ts';
export {
  command,
  type CommandStepOptions,
  type FallbackCommand,
  type UndoByCommand,
} from './definition/command.ts';
export { local, type LocalStepOptions } from './definition/local.ts';
export { waitFor, waitForSignal, type SignalStepOptions, type WaitStepOptions } from './definition/wait.ts';
export { signal, type SagaSignal } from './definition/signal.ts';
export { parallel, scope, type ParallelOptions } from './definition/groups.ts';
export { migration, type SagaMigration } from './definition/migrations.ts';
export {
  abort,
  park,
  SagaAbort,
  SagaPark,
  type Fallback,
  type Next,
  type SagaReason,
} from './definition/next.ts';
export type { CommandPolicy, RetryPolicy } from './definition/retry-policy.ts';
export type { CancelMode, Deadline, SagaScope, SagaStep } from './definition/steps.ts';
export { sagaDiagram } from './diagram.ts';

// Running sagas
export {
  bindSaga,
  SagaEngine,
  type BoundSaga,
  type CancelResult,
  type EventResult,
  type OutgoingSagaCommand,
  type ReplyResult,
  type RetryResult,
  type SagaChange,
  type SagaDetails,
  type SagaEngineOptions,
  type SagaEvent,
  type SagaInbound,
  type SagaName,
  type SagaReply,
  type SagaSummary,
  type SagaTransport,
  type SignalResult,
  type UnknownInstance,
} from './engine.ts';
export { SagaTimers, type SagaTimersOptions } from './timers.ts';

// Keeping them
export type { DueTimer, SagaCount, SagaFilter, SagaStore } from './store.ts';
export { InMemorySagaStore } from './in-memory-store.ts';
export { PostgresSagaStore, type SagaUnit } from './postgres-store.ts';
export {
  AddSagaTrace1764200000000,
  CreateSagaTables1763800000000,
  sagaMigrations,
  type MigrationConnection,
} from './migration.ts';

// What an instance is, and the pure function that moves it
export {
  hasEnded,
  parseSagaKey,
  sagaCommandId,
  sagaKey,
  type Branch,
  type BufferedEvent,
  type Cursor,
  type HistoryEntry,
  type HistoryKind,
  type Parked,
  type PendingCancel,
  type RefusedCancel,
  type SagaDirection,
  type SagaInstance,
  type SagaRef,
  type SagaStatus,
  type SagaWaiting,
} from './instance.ts';
export { startInstance, transition, type StartOptions } from './transition/transition.ts';
export { MAX_BUFFERED_EVENTS } from './transition/events.ts';
export { withoutDefinition } from './transition/without-definition.ts';
export type {
  CancelAnswer,
  DefinitionMissing,
  HandledAnswer,
  ReplyInput,
  RetryAnswer,
  SagaAnswer,
  SagaEffect,
  SagaInput,
  Transition,
} from './transition/contract.ts';
export { drive, type Driven, type OutwardEffect } from './drive.ts';
export { waitingFor } from './waiting-for.ts';
export { explainWaiting, waitsOf, type SagaWait, type WaitFacts } from './why.ts';
export {
  SagaAlreadyStartedError,
  SagaDefinitionFaultError,
  SagaVersionConflictError,
  UnknownSagaError,
} from './saga.errors.ts';
