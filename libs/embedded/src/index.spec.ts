import * as api from './index.ts';

it('exports these names', () => {
  expect(Object.keys(api).sort()).toMatchInlineSnapshot(`
    [
      "ChildServer",
      "CommandFailedError",
      "DataDirectoryInUseError",
      "DataDirectoryUnusableError",
      "EmbeddedNats",
      "EmbeddedOptionError",
      "EmbeddedPostgres",
      "NatsServerUnavailableError",
      "PortBusyError",
      "PostgresUnavailableError",
      "PostgresVersionMismatchError",
      "ServerStartError",
      "SupervisedServer",
      "assertPortFree",
      "databaseUrl",
      "defaultCacheDir",
      "defaultPostgresSettings",
      "ensureDatabase",
      "freePort",
      "locateNatsServer",
      "loopback",
      "oldestNatsVersion",
      "pinnedNatsVersion",
      "removePostgresData",
      "runCommand",
      "startNats",
      "startPostgres",
    ]
  `);
});
