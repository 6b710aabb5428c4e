// servers
export {
  testServers,
  sharedNatsUrl,
  sharedPostgresUrl,
  stopTestServers,
  testServerVariables,
} from './test-servers.ts';
export type { TestServers } from './test-servers.ts';
export { startTestNats, startTestPostgres } from './server-host.ts';
export type { StartTestNatsOptions, StartTestPostgresOptions, TestServer } from './server-host.ts';
export { TestServerUnavailableError } from './server-desk.ts';

// databases
export { createTestDatabase, DatabaseLeakError, DatabaseTemplateError } from './test-database.ts';
export type { CreateTestDatabaseOptions, DatabaseTemplate, TestDatabase } from './test-database.ts';

// waiting, time, names
export { until, UntilTimedOutError, type NotYet, type UntilOptions } from './until.ts';
export { ManualClock } from './manual-clock.ts';
export { uniqueName } from './unique-name.ts';
export { createTestCertificates, type TestCertificates } from './test-certificates.ts';

// leaks
export {
  installLeakGuard,
  leakGuard,
  LeakError,
  type LeakGuard,
  type LeakGuardOptions,
} from './leak-guard.ts';
