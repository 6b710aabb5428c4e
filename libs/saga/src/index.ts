// Declaring a saga
export {
  abort,
  command,
  defineSaga,
  local,
  park,
  SagaAbort,
  SagaPark,
  waitFor,
  type CommandStepOptions,
  type Fallback,
  type LocalStepOptions,
  type Next,
  type SagaDefinition,
  type SagaOptions,
  type SagaReason,
  type SagaStep,
  type UndoByCommand,
  type WaitStepOptions,
} from './definition.ts';
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
  type UnknownInstance,
} from './engine.ts';
export { SagaTimers, type SagaTimersOptions } from './timers.ts';

// Keeping them
export type { DueTimer, SagaCount, SagaFilter, SagaStore } from './store.ts';
export { InMemorySagaStore } from './in-memory-store.ts';
export { PostgresSagaStore, type SagaUnit } from './postgres-store.ts';
export { CreateSagaTables1763800000000, sagaMigrations, type MigrationConnection } from './migration.ts';

// What an instance is, and the pure function that moves it
export {
  hasEnded,
  parseSagaKey,
  sagaCommandId,
  sagaKey,
  type BufferedEvent,
  type HistoryEntry,
  type HistoryKind,
  type Parked,
  type SagaDirection,
  type SagaInstance,
  type SagaRef,
  type SagaStatus,
  type SagaWaiting,
} from './instance.ts';
export {
  MAX_BUFFERED_EVENTS,
  startInstance,
  transition,
  withoutDefinition,
  type CancelAnswer,
  type DefinitionMissing,
  type HandledAnswer,
  type ReplyInput,
  type RetryAnswer,
  type SagaAnswer,
  type SagaEffect,
  type SagaInput,
  type StartOptions,
  type Transition,
} from './transition.ts';
export { drive, type Driven, type OutwardEffect } from './drive.ts';
export { waitingFor } from './waiting-for.ts';
export {
  SagaAlreadyStartedError,
  SagaDefinitionFaultError,
  SagaVersionConflictError,
  UnknownSagaError,
} from './saga.errors.ts';
