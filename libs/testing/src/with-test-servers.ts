import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { pathToFileURL } from 'node:url';
import { openDesk } from './server-desk.ts';
import { ServerHost } from './server-host.ts';
import { testServerVariables } from './test-servers.ts';

/**
 * Runs a command whose test processes, however many, share one NATS and one Postgres, started when the first
 * asks. Returns the command's exit code (128 + the signal's number when a signal ended it).
 */
export async function withTestServers(command: string, args: readonly string[]): Promise<number> {
  await using host = new ServerHost();
  const desk = await openDesk(host);
  try {
    const child = spawn(command, args, {
      stdio: 'inherit',
      env: { ...process.env, [testServerVariables.desk]: desk.url },
    });
    // The terminal sends Ctrl-C to the command too; this program only outlives it to clean up.
    const forward = (signal: NodeJS.Signals): void => {
      child.kill(signal);
    };
    process.on('SIGINT', forward).on('SIGTERM', forward);
    try {
      return await new Promise((resolve, reject) => {
        child.once('error', reject);
        child.once('exit', (code, signal) =>
          resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
        );
      });
    } finally {
      process.off('SIGINT', forward).off('SIGTERM', forward);
    }
  } finally {
    await desk.close();
  }
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [command, ...args] = process.argv.slice(2);
  if (command === undefined) {
    process.stderr.write('usage: with-test-servers COMMAND [ARGUMENT...]\n');
    process.exitCode = 2;
  } else {
    process.exitCode = await withTestServers(command, args);
  }
}
