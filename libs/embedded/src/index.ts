// nats-server
export { locateNatsServer, oldestNatsVersion, pinnedNatsVersion } from './nats-binary.ts';
export type { LocateNatsServerOptions, NatsServerBinary, NatsServerOrigin } from './nats-binary.ts';
export { startNats, natsUsersConfig, setNatsUsers, EmbeddedNats } from './nats.ts';
export type { NatsPermissions, NatsUser, RunningNats, StartNatsOptions } from './nats.ts';
export { startNatsCluster, EmbeddedNatsCluster } from './nats-cluster.ts';
export type { NatsClusterMember, StartNatsClusterOptions } from './nats-cluster.ts';

// Postgres
export { startPostgres, defaultPostgresSettings, EmbeddedPostgres } from './postgres.ts';
export type { PostgresSettings, StartPostgresOptions } from './postgres.ts';
export { ensureDatabase, databaseUrl, type DatabaseSpec } from './databases.ts';
export { removePostgresData } from './postgres-data.ts';

// processes and ports
export { ChildServer } from './child-server.ts';
export type { ChildServerOptions, ServerExit } from './child-server.ts';
export { SupervisedServer, type ExitListener } from './supervised-server.ts';
export { runCommand, type CommandOptions } from './command.ts';
export { freePort, assertPortFree, loopback } from './ports.ts';
export { defaultCacheDir } from './cache-dir.ts';

// errors
export {
  CommandFailedError,
  DataDirectoryInUseError,
  DataDirectoryUnusableError,
  EmbeddedOptionError,
  NatsReloadError,
  NatsServerUnavailableError,
  PortBusyError,
  PostgresUnavailableError,
  PostgresVersionMismatchError,
  ServerStartError,
  type NatsServerAttempt,
} from './errors.ts';
