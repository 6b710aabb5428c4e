import * as api from './index.ts';

it('exports these names', () => {
  expect(Object.keys(api).sort()).toMatchInlineSnapshot(`
    [
      "DatabaseLeakError",
      "DatabaseTemplateError",
      "LeakError",
      "ManualClock",
      "TestServerUnavailableError",
      "UntilTimedOutError",
      "createTestCertificates",
      "createTestDatabase",
      "installLeakGuard",
      "leakGuard",
      "sharedNatsUrl",
      "sharedPostgresUrl",
      "startTestNats",
      "startTestPostgres",
      "stopTestServers",
      "testServerVariables",
      "testServers",
      "uniqueName",
      "until",
    ]
  `);
});
