import { ServerHost } from './server-host.ts';
import { openDesk } from './server-desk.ts';
import { keepForTeardown } from './jest-run.ts';
import { testServerVariables } from './test-servers.ts';

/**
 * Jest `globalSetup`: lets the tests of this run share one NATS and one Postgres, started when the first test
 * asks. A run inside a run that has servers already uses those.
 */
export default async function globalSetup(): Promise<void> {
  const { env } = process;
  if (env[testServerVariables.desk] !== undefined) return;
  const host = new ServerHost();
  const desk = await openDesk(host);
  env[testServerVariables.desk] = desk.url;
  keepForTeardown(async () => {
    delete env[testServerVariables.desk];
    await desk.close();
    await host.stop();
  });
}
