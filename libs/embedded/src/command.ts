import { spawn } from 'node:child_process';
import { CommandFailedError } from './errors.ts';

export interface CommandOptions {
  /** The process is killed and the command fails after this many milliseconds. */
  readonly timeoutMs: number;
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly uid?: number;
  readonly gid?: number;
}

/**
 * Runs a program to its end and returns what it wrote to standard output. Throws {@link CommandFailedError}
 * when it cannot be started, ends with another code than 0, or exceeds the time limit.
 */
export function runCommand(
  command: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<string> {
  const shown = [command, ...args].join(' ');
  const { timeoutMs, ...spawnOptions } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...spawnOptions, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
      // Its own children may hold the pipes open: do not wait for them.
      child.stdout.destroy();
      child.stderr.destroy();
    }, timeoutMs);
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (stdout += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk));
    child.once('error', (error) => {
      clearTimeout(timer);
      reject(new CommandFailedError(shown, `could not be started: ${error.message}`, null, '', error));
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) {
        resolve(stdout);
        return;
      }
      const reason = timedOut
        ? `did not end within ${timeoutMs} ms`
        : code === null
          ? `was ended by ${signal ?? 'an unknown signal'}`
          : `failed with code ${code}`;
      reject(new CommandFailedError(shown, reason, code, stderr.trim() === '' ? stdout : stderr));
    });
  });
}
