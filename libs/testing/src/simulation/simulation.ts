import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock, TimerHandle } from '@flotilla/kernel';
import { EventQueue } from './event-queue.ts';
import { SeededRandom } from './seeded-random.ts';
import { drained } from './simulated-globals.ts';
import { Trace } from './trace.ts';

/** One run of a program within a simulation. When it has crashed, nothing that it began goes on. */
export class SimulatedProcess {
  readonly name: string;
  readonly #simulation: Simulation;
  #alive = true;

  constructor(simulation: Simulation, name: string) {
    this.#simulation = simulation;
    this.name = name;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Runs code as this process: what it starts belongs to it. */
  run<T>(code: () => T): T {
    return processes.run(this, code);
  }

  /** Writes a line into the trace for readers; no part of its hash. */
  note(what: string): void {
    if (this.#alive) this.#simulation.trace.note(this.#simulation.elapsedMs, this.name, what);
  }

  /** Ends it as `kill -9` does: its timers and everything it waits for are gone. */
  crash(): void {
    this.#alive = false;
    this.#simulation.trace.add(this.#simulation.elapsedMs, this.name, 'crashes');
  }
}

const processes = new AsyncLocalStorage<SimulatedProcess>();
/** Nobody's context: neither a process's, nor that of the message that one handles. */
const inNoContext = AsyncLocalStorage.snapshot();

/** The simulated process whose code runs; undefined outside of all. */
export function currentProcess(): SimulatedProcess | undefined {
  return processes.getStore();
}

interface SimulatedEvent {
  readonly dueMs: number;
  readonly order: number;
  readonly owner: SimulatedProcess | undefined;
  /** What the trace says; undefined: it is not worth a line. */
  readonly label: string | undefined;
  readonly happen: () => void;
  cancelled: boolean;
}

export interface SimulationOptions {
  readonly seed: number;
  /** Keeps the lines of the trace, for a reader. Default false: only their hash. */
  readonly trace?: boolean;
  /** Wall time at the beginning, milliseconds since the epoch. Default 2030-01-01. */
  readonly startMs?: number;
}

/** How a run of the simulation ended: as wished, at the bound of time or of events, or because nothing was left to happen. */
export type RunEnd = 'done' | 'late' | 'too-many-events' | 'idle';

const START_MS = Date.UTC(2030, 0, 1);
const nothing = (): void => undefined;
/** An immediate comes in the next turn of a process's event loop, in milliseconds. */
const TURN_MS = 0.001;
/** A timer of Node's takes that at least: whoever waits for what is left of a time never finds that none has passed. */
const LEAST_TIMER_MS = 1;

/**
 * A deterministic world: everything that can happen next stands in one queue, and time jumps from one to the next. What
 * the seed decides it decides by how long things take and by what breaks. Between two events all promises that can go on
 * do, as between two turns of Node's event loop.
 */
export class Simulation {
  readonly seed: number;
  readonly trace: Trace;
  /** For the latencies of everything. */
  readonly latencies: SeededRandom;
  /**
   * For `Math.random`: the jitter of the code that is simulated. What it gives depends on the event in which it is drawn
   * and not on what was drawn before, because libraries draw in bulk, and keep the rest for the next simulation.
   */
  readonly jitter: { next(): number };
  /** A clock of simulated time; its timers belong to the process that set them. */
  readonly clock: Clock;
  readonly #queue = new EventQueue<SimulatedEvent>();
  readonly #startMs: number;
  #elapsedMs = 0;
  #order = 0;
  #events = 0;
  /** What an action of {@link after} has thrown: ends the run. */
  #failure: { readonly error: unknown } | undefined;

  constructor({ seed, trace = false, startMs = START_MS }: SimulationOptions) {
    this.seed = seed;
    this.trace = new Trace({ keep: trace });
    this.latencies = new SeededRandom(seed, 'latencies');
    let event = 0;
    let drawn = 0;
    this.jitter = {
      next: () => {
        drawn = event === this.#events ? drawn + 1 : 0;
        event = this.#events;
        return mixed(seed, event, drawn);
      },
    };
    this.#startMs = startMs;
    this.clock = {
      now: () => this.now(),
      monotonicMs: () => this.#elapsedMs,
      after: (delayMs, action) => this.after(Math.max(LEAST_TIMER_MS, delayMs), action),
      sleep: (delayMs, signal) => this.#sleep(delayMs, signal),
    };
  }

  /** Wall time, in whole milliseconds since the epoch. */
  now(): number {
    return this.#startMs + Math.floor(this.#elapsedMs);
  }

  /** Simulated milliseconds since the start. */
  get elapsedMs(): number {
    return this.#elapsedMs;
  }

  /** How many events have happened. */
  get events(): number {
    return this.#events;
  }

  process(name: string): SimulatedProcess {
    return new SimulatedProcess(this, name);
  }

  /** Runs code as no process, and in nobody's context: what it starts goes on whatever becomes of the one that it is called in. */
  outside<T>(code: () => T): T {
    return inNoContext(code);
  }

  /** Writes a line into the trace, as the running process. */
  tell(what: string, who: string = currentProcess()?.name ?? 'world'): void {
    this.trace.add(this.#elapsedMs, who, what);
  }

  /** Runs `action` once after `delayMs`, in the context in which this is called; never once its process has crashed. */
  after(delayMs: number, action: () => void, label?: string): TimerHandle {
    // What follows a promise runs in the context that it was asked for in: that costs less than a snapshot of the context.
    let happen: () => void = nothing;
    void new Promise<void>((resolve) => (happen = resolve)).then(() => {
      try {
        action();
      } catch (error) {
        this.#failure ??= { error };
      }
    });
    const event = this.#add(Math.max(0, delayMs), label, happen);
    return { cancel: () => void (event.cancelled = true) };
  }

  /** Runs `action` in the next turn of the event loop. */
  soon(action: () => void): TimerHandle {
    return this.after(TURN_MS, action);
  }

  /** Resolves when something that takes `durationMs` has happened; never in a process that has crashed meanwhile. */
  takes(durationMs: number, label?: string): Promise<void> {
    return new Promise((resolve) => void this.#add(durationMs, label, resolve));
  }

  /** Resolves after a random latency between the two, in milliseconds: mostly short, sometimes not. */
  latency(minMs: number, maxMs: number, label?: string): Promise<void> {
    return this.takes(this.drawLatency(minMs, maxMs), label);
  }

  drawLatency(minMs: number, maxMs: number): number {
    const share = this.latencies.next();
    // Cubed: most are near the lower end, and the upper end is there.
    return minMs + (maxMs - minMs) * share * share * share;
  }

  /** Lets happen what happens until `done`, at most `withinMs` of simulated time and `maxEvents` events from now. */
  async run(
    done: () => boolean,
    { withinMs, maxEvents = Infinity }: { readonly withinMs: number; readonly maxEvents?: number },
  ): Promise<RunEnd> {
    const untilMs = this.#elapsedMs + withinMs;
    const lastEvent = this.#events + maxEvents;
    await drained();
    for (;;) {
      if (done()) return 'done';
      const next = this.#queue.peek();
      if (next === undefined) return 'idle';
      if (next.dueMs > untilMs) {
        this.#elapsedMs = untilMs;
        return 'late';
      }
      if (this.#events >= lastEvent) return 'too-many-events';
      this.#queue.pop();
      if (next.cancelled || next.owner?.alive === false) continue;
      this.#elapsedMs = next.dueMs;
      this.#events++;
      if (next.label !== undefined) this.trace.add(next.dueMs, next.owner?.name ?? 'world', next.label);
      next.happen();
      await drained();
      if (this.#failure !== undefined) {
        const { error } = this.#failure;
        this.#failure = undefined;
        throw error;
      }
    }
  }

  #add(delayMs: number, label: string | undefined, happen: () => void): SimulatedEvent {
    const owner = currentProcess();
    const event: SimulatedEvent = {
      dueMs: this.#elapsedMs + delayMs,
      order: this.#order++,
      owner,
      label,
      happen,
      cancelled: owner?.alive === false,
    };
    this.#queue.push(event);
    return event;
  }

  #sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.resolve();
    return new Promise((resolve) => {
      const finish = (): void => {
        timer.cancel();
        signal?.removeEventListener('abort', finish);
        resolve();
      };
      const timer = this.clock.after(delayMs, finish);
      signal?.addEventListener('abort', finish, { once: true });
    });
  }
}

/** A number from 0 to 1, without 1, that three whole numbers decide (the finisher of MurmurHash3). */
function mixed(a: number, b: number, c: number): number {
  let hash = Math.imul(a | 0, 0x9e3779b1) ^ Math.imul(b | 0, 0x85ebca77) ^ Math.imul(c | 0, 0xc2b2ae3d);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32;
}
