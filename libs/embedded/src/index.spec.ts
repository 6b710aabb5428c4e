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
      "NatsReloadError",
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
      "natsUsersConfig",
      "oldestNatsVersion",
      "pinnedNatsVersion",
      "removePostgresData",
      "runCommand",
      "setNatsUsers",
      "startNats",
      "startPostgres",
    ]
  `);
});
