import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Command } from 'commander';
import { workspaceRoot } from '../workspace.ts';

/** `fleet bench`: the same as `npm run bench --`, which is a program of its own. */
export function addBench(program: Command): void {
  program
    .command('bench')
    .description(
      'measure the chassis and the fleet on this machine; "fleet bench --help" lists the benchmarks',
    )
    .argument('[arguments...]', 'handed on')
    .allowUnknownOption()
    .helpOption(false)
    .action(async (_arguments: readonly string[], _options: unknown, command: Command) => {
      const main = join(workspaceRoot, 'tools/bench/src/main.ts');
      const child = spawn(process.execPath, ['--conditions=@flotilla/source', main, ...command.args], {
        stdio: 'inherit',
      });
      // A terminal's Ctrl-C reaches both; this one waits until the other has stopped what it started.
      const forward = (signal: NodeJS.Signals): void => void child.kill(signal);
      process.on('SIGINT', () => undefined);
      process.on('SIGTERM', forward);
      process.exitCode = await new Promise<number>((resolve, reject) => {
        child.once('error', reject);
        child.once('exit', (code) => resolve(code ?? 130));
      });
    });
}
