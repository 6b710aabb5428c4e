import { spawn, type ChildProcess } from 'node:child_process';

/** How long services whose fleet was killed may take to end: their servers end too, so there is little to finish. */
export const ORPHAN_PATIENCE_MS = 5_000;

/**
 * Reads `+ pid` and `- pid`. At the end of its standard input, which comes when the process that holds the other
 * end of the pipe is gone, however it went, it ends the processes on the list: $1 is its patience in tenths of a
 * second between the polite and the hard way.
 */
const script = `
pids=
while read -r sign pid; do
  case $sign in
    +) pids="$pids $pid" ;;
    -) rest=; for each in $pids; do [ "$each" = "$pid" ] || rest="$rest $each"; done; pids=$rest ;;
  esac
done
for pid in $pids; do kill -s TERM "$pid" 2>/dev/null; done
waited=0
while [ "$waited" -lt "$1" ]; do
  alive=
  for pid in $pids; do kill -0 "$pid" 2>/dev/null && alive=1; done
  [ -n "$alive" ] || exit 0
  sleep 0.1; waited=$((waited + 1))
done
for pid in $pids; do kill -s KILL "$pid" 2>/dev/null; done
`;

/** Ends child processes when this process dies without doing so, even by kill -9. One small shell for all of them. */
export class OrphanGuard {
  readonly #shell: ChildProcess;

  constructor(patienceMs: number) {
    const tenths = String(Math.ceil(patienceMs / 100));
    this.#shell = spawn('/bin/sh', ['-c', script, 'flotilla-guard', tenths], {
      cwd: '/',
      // In a session of its own: Ctrl-C must not end the guard before those it guards.
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    this.#shell.unref();
    this.#shell.on('error', (error) => {
      process.emitWarning(
        `no guard for orphaned services: ${error.message}; kill -9 would leave them running`,
      );
    });
    this.#shell.stdin?.on('error', (error) =>
      process.emitWarning(`the guard for orphans ended: ${error.message}`),
    );
  }

  add(pid: number): void {
    this.#shell.stdin?.write(`+ ${pid}\n`);
  }

  remove(pid: number): void {
    this.#shell.stdin?.write(`- ${pid}\n`);
  }

  /** Lets the guard end; what is still on its list, it ends. */
  close(): void {
    this.#shell.stdin?.end();
  }
}
