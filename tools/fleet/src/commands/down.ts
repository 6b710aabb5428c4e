import type { Command } from 'commander';
import { errorCode, systemClock } from '@flotilla/kernel';
import { FleetKilledError, FleetNotRunningError } from '../fleet.errors.ts';
import { runningFleet } from '../stack/lock.ts';
import { stopwatch } from '../terminal.ts';
import { dirOf, withData, type CommandContext, type DataOption } from './shared.ts';

/** Longer than any orderly stop: services drain, then the servers end. */
const STOP_WITHIN_MS = 60_000;

/** `fleet down` */
export function addDown(program: Command, { terminal }: CommandContext): void {
  withData(program.command('down').description('stop the fleet that runs on the data directory')).action(
    async (options: DataOption) => {
      const took = stopwatch();
      const dir = dirOf(options);
      const pid = runningFleet(dir);
      if (pid === undefined) throw new FleetNotRunningError(dir.path);
      signal(pid, 'SIGTERM');
      const start = systemClock.monotonicMs();
      while (runningFleet(dir) === pid) {
        if (systemClock.monotonicMs() - start > STOP_WITHIN_MS) {
          signal(pid, 'SIGKILL');
          throw new FleetKilledError(pid, STOP_WITHIN_MS);
        }
        terminal.progress(`Waiting for the fleet (process ${pid}) to stop`);
        await systemClock.sleep(50);
      }
      terminal.print(`Stopped in ${took()}.`);
    },
  );
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (errorCode(error) !== 'ESRCH') throw error; // else it has just ended
  }
}
