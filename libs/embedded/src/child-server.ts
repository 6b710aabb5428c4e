import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { dirname } from 'node:path';
import { errorCode, systemClock } from '@flotilla/kernel';
import { CommandFailedError, ServerStartError } from './errors.ts';
import { runCommand } from './command.ts';

/** How a server process ended. */
export interface ServerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** True when it ended because `stop()`, `kill()` or `restart()` was called. */
  readonly expected: boolean;
}

export interface ChildServerOptions {
  /** What the server is called in errors, such as "NATS". */
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  /** Receives everything the process writes; appended to. */
  readonly logFile: string;
  /** The signal that asks the server to end in good order. */
  readonly stopSignal: NodeJS.Signals;
  /** How long `stop()`, and the watchdog, wait after that signal before SIGKILL. Default 10,000 ms. */
  readonly stopTimeoutMs?: number;
  /** The user to run as; only root can set it. */
  readonly uid?: number;
  readonly gid?: number;
  readonly env?: NodeJS.ProcessEnv;
  /** A directory that the watchdog removes after it ended a server whose parent died: for test data. */
  readonly removeWhenOrphaned?: string;
}

/**
 * Waits for the end of its standard input, which comes when the parent that holds the other end of the pipe
 * is gone, however it went; then ends the server: $1 pid, $2 signal, $3 patience in tenths of a second,
 * $4 directory to remove afterwards, or nothing.
 */
const watchdogScript = `
while read -r _; do :; done
kill -s "$2" "$1" 2>/dev/null
waited=0
while kill -0 "$1" 2>/dev/null && [ "$waited" -lt "$3" ]; do sleep 0.1; waited=$((waited + 1)); done
kill -s KILL "$1" 2>/dev/null
[ -z "$4" ] || rm -rf -- "$4"
`;

/**
 * One run of a server as a child process. The child leads its own session, so that Ctrl-C in a terminal
 * reaches only the parent, which then stops things in its own order. A small shell process watches the
 * parent and ends the server when the parent dies without stopping it, even by kill -9.
 */
export class ChildServer {
  readonly name: string;
  readonly pid: number;
  readonly logFile: string;
  /** Resolves when the process has ended; never rejects. */
  readonly exited: Promise<ServerExit>;
  readonly #process: ChildProcess;
  readonly #watchdog: ChildProcess;
  readonly #stopSignal: NodeJS.Signals;
  readonly #stopTimeoutMs: number;
  readonly #logStart: number;
  #running = true;
  #expected = false;

  private constructor(process: ChildProcess, pid: number, logStart: number, options: ChildServerOptions) {
    this.name = options.name;
    this.pid = pid;
    this.logFile = options.logFile;
    this.#process = process;
    this.#stopSignal = options.stopSignal;
    this.#stopTimeoutMs = options.stopTimeoutMs ?? 10_000;
    this.#logStart = logStart;
    this.#watchdog = startWatchdog(pid, this.#stopSignal, this.#stopTimeoutMs, options.removeWhenOrphaned);
    this.exited = new Promise((resolve) => {
      process.once('exit', (code, signal) => {
        this.#running = false;
        this.#watchdog.kill('SIGKILL');
        resolve({ code, signal, expected: this.#expected });
      });
    });
  }

  /** Starts the process; whether it becomes ready is for {@link ChildServer.waitUntilReady} to see. */
  static async start(options: ChildServerOptions): Promise<ChildServer> {
    mkdirSync(dirname(options.logFile), { recursive: true });
    const log = openSync(options.logFile, 'a', 0o600);
    const handle = await open(options.logFile, 'r');
    const logStart = (await handle.stat()).size;
    await handle.close();
    let child: ChildProcess;
    try {
      child = spawn(options.command, options.args, {
        cwd: '/',
        detached: true,
        stdio: ['ignore', log, log],
        ...(options.env === undefined ? {} : { env: options.env }),
        ...(options.uid === undefined ? {} : { uid: options.uid }),
        ...(options.gid === undefined ? {} : { gid: options.gid }),
      });
    } finally {
      closeSync(log);
    }
    const { pid } = child;
    if (pid === undefined) {
      const error = await new Promise<Error>((resolve) => child.once('error', resolve));
      throw new CommandFailedError(
        options.command,
        `could not be started: ${error.message}`,
        null,
        '',
        error,
      );
    }
    return new ChildServer(child, pid, logStart, options);
  }

  get running(): boolean {
    return this.#running;
  }

  /**
   * Asks `isReady` again and again until it says true. When the process ends before, or `deadlineMs` passes,
   * no process is left and the error carries the end of the log.
   */
  async waitUntilReady(isReady: () => Promise<boolean>, deadlineMs: number): Promise<void> {
    const start = systemClock.monotonicMs();
    for (;;) {
      if (!this.#running) {
        const { code, signal } = await this.exited;
        throw await this.#startError(`it ended at once (${signal ?? `code ${code}`})`);
      }
      if (await isReady()) return;
      if (systemClock.monotonicMs() - start > deadlineMs) {
        await this.kill();
        throw await this.#startError(`it was not ready within ${deadlineMs} ms`);
      }
      await systemClock.sleep(10);
    }
  }

  /** What this run of the server wrote last, at most `maxBytes` of it. */
  async logTail(maxBytes = 4096): Promise<string> {
    const text = await readFile(this.logFile);
    return text.subarray(Math.max(this.#logStart, text.length - maxBytes)).toString('utf8');
  }

  /** Ends the server in good order; with SIGKILL if that takes longer than the stop time-out. */
  async stop(): Promise<ServerExit> {
    this.#expected = true;
    if (!this.#running) return this.exited;
    this.#process.ref();
    this.#process.kill(this.#stopSignal);
    const timer = systemClock.after(this.#stopTimeoutMs, () => this.#process.kill('SIGKILL'));
    try {
      return await this.exited;
    } finally {
      timer.cancel();
    }
  }

  /** Ends the server at once (SIGKILL), as a crash would. */
  async kill(): Promise<ServerExit> {
    this.#expected = true;
    if (!this.#running) return this.exited;
    this.#process.ref();
    this.#process.kill('SIGKILL');
    return this.exited;
  }

  /** Lets this program end while the server still runs; the watchdog then stops the server. */
  unref(): void {
    this.#process.unref();
  }

  async #startError(reason: string): Promise<ServerStartError> {
    return new ServerStartError(this.name, reason, this.logFile, await this.logTail());
  }
}

function startWatchdog(
  pid: number,
  signal: NodeJS.Signals,
  patienceMs: number,
  remove: string | undefined,
): ChildProcess {
  const tenths = Math.ceil(patienceMs / 100);
  const watchdog = spawn(
    '/bin/sh',
    [
      '-c',
      watchdogScript,
      'flotilla-watchdog',
      String(pid),
      signal.replace('SIG', ''),
      String(tenths),
      remove ?? '',
    ],
    { cwd: '/', detached: true, stdio: ['pipe', 'ignore', 'ignore'] },
  );
  watchdog.unref();
  const pipe = watchdog.stdin;
  if (pipe instanceof Socket) pipe.unref(); // what a child's standard input is at run time
  pipe.on('error', () => undefined); // the watchdog is killed when its server ends: a broken pipe is expected
  watchdog.on('error', (error) => {
    process.emitWarning(`no watchdog for process ${pid}: ${error.message}; it may outlive this program`);
  });
  return watchdog;
}

/**
 * The command line of a live process, or undefined when there is none (or it is a zombie). Used to tell a
 * server that runs from a pid file that one left behind.
 */
export async function commandLineOf(pid: number): Promise<string | undefined> {
  if (process.platform === 'linux') {
    try {
      const text = await readFile(`/proc/${pid}/cmdline`, 'utf8');
      return text === '' ? undefined : text.replaceAll('\0', ' ').trim();
    } catch (error) {
      if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ESRCH') return undefined;
      throw error;
    }
  }
  try {
    return (await runCommand('ps', ['-o', 'args=', '-p', String(pid)], { timeoutMs: 5_000 })).trim();
  } catch (error) {
    if (error instanceof CommandFailedError && error.exitCode === 1) return undefined;
    throw error;
  }
}
