import type { ChildServer, ServerExit } from './child-server.ts';

/** Called when a run of the server ends; `exit.expected` tells a crash from a stop. */
export type ExitListener = (exit: ServerExit) => void;

/** A server that can be stopped, killed and started again; at most one process at a time. */
export class SupervisedServer {
  readonly #launch: () => Promise<ChildServer>;
  readonly #listeners = new Set<ExitListener>();
  #child: ChildServer;

  protected constructor(launch: () => Promise<ChildServer>, child: ChildServer) {
    this.#launch = launch;
    this.#child = child;
    this.#watch(child);
  }

  /** The process id of the current (or last) run. */
  get pid(): number {
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child.running;
  }

  get logFile(): string {
    return this.#child.logFile;
  }

  /** Resolves when the current run has ended. */
  get exited(): Promise<ServerExit> {
    return this.#child.exited;
  }

  /** Tells `listener` of every end of a run; returns the function that stops telling it. */
  onExit(listener: ExitListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Ends the server in good order, with SIGKILL after a bounded wait; nothing when it does not run. */
  async stop(): Promise<void> {
    await this.#child.stop();
  }

  /** Ends the server as a crash would (SIGKILL). */
  async kill(): Promise<void> {
    await this.#child.kill();
  }

  /** Stops it if it runs, then starts it again with the same data on the same port; waits until it is ready. */
  async restart(): Promise<void> {
    await this.#child.stop();
    this.#child = await this.#launch();
    this.#watch(this.#child);
  }

  /** The last lines the current run wrote. */
  async logTail(): Promise<string> {
    return this.#child.logTail();
  }

  /** Lets this program end while the server runs; the server is then stopped for it. */
  unref(): void {
    this.#child.unref();
  }

  #watch(child: ChildServer): void {
    void child.exited.then((exit) => {
      for (const listener of this.#listeners) listener(exit);
    });
  }
}
