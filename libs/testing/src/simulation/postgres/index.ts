// the server
export {
  SimulatedPostgres,
  type CreateDatabaseOptions,
  type PostgresDriver,
  type SessionAct,
  type SimulatedPostgresHooks,
} from './simulated-postgres.ts';

// errors
export { PostgresError, type PostgresErrorDetails } from './postgres-error.ts';
