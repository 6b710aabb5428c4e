import type { TimerHandle } from '@flotilla/kernel';

/** What stands behind the globals while a simulation runs. */
export interface SimulatedGlobals {
  now(): number;
  readonly elapsedMs: number;
  after(delayMs: number, action: () => void): TimerHandle;
  soon(action: () => void): TimerHandle;
  readonly jitter: { next(): number };
}

type Action = (...all: unknown[]) => void;

const nextTick = process.nextTick.bind(process);
const real = {
  Date,
  setTimeout,
  clearTimeout,
  setInterval,
  clearInterval,
  setImmediate,
  clearImmediate,
  performanceNow: performance.now.bind(performance),
  random: Math.random,
  signalTimeout: AbortSignal.timeout.bind(AbortSignal),
};

let world: SimulatedGlobals | undefined;
let installed = false;
let counting = false;
/** Callbacks of `process.nextTick` that have not run yet. */
let ticks = 0;
/** Those that have run. */
let ticked = 0;

/**
 * Makes timers, dates and random numbers of this whole Node process those of `simulation`; undefined gives the real ones
 * back. For processes that do nothing but simulate: code that runs beside would find itself in the simulated world too.
 */
export function simulateGlobals(simulation: SimulatedGlobals | undefined): void {
  if (!installed) install();
  world = simulation;
}

/** Resolves when every promise that can go on has, and no callback of `process.nextTick` waits. */
export function drained(): Promise<void> {
  countTicks();
  return new Promise((resolve) => {
    let before = -1;
    const look = (): void => {
      // What a tick leads to comes only after the ticks that were asked for together with it, of which this is one.
      if (ticks === 0 && ticked === before) resolve();
      else again();
    };
    // A tick that is asked for by a microtask comes when there are no more microtasks.
    const ask = (): void => {
      before = ticked;
      nextTick(look);
    };
    const again = (): void => queueMicrotask(ask);
    again();
  });
}

/** What `setTimeout` answers: enough of Node's own for those who call `unref`, `hasRef` and `refresh`. */
class SimulatedTimer {
  readonly #arm: () => TimerHandle;
  #handle: TimerHandle;

  constructor(arm: () => TimerHandle) {
    this.#arm = arm;
    this.#handle = arm();
  }

  cancel(): void {
    this.#handle.cancel();
  }

  refresh(): this {
    this.#handle.cancel();
    this.#handle = this.#arm();
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }

  hasRef(): boolean {
    return true;
  }

  [Symbol.dispose](): void {
    this.cancel();
  }
}

/** From now on it is known how many callbacks of `process.nextTick` wait. */
function countTicks(): void {
  if (counting) return;
  counting = true;
  Object.assign(process, {
    nextTick: (action: Action, ...all: unknown[]): void => {
      ticks++;
      nextTick(() => {
        ticks--;
        ticked++;
        action(...all);
      });
    },
  });
}

function install(): void {
  installed = true;
  class SimulatedDate extends real.Date {
    constructor(...all: unknown[]) {
      if (all.length === 0) super(SimulatedDate.now());
      else super(...(all as [number]));
    }

    static override now(): number {
      return world === undefined ? real.Date.now() : world.now();
    }
  }
  const cancel = (otherwise: (timer: never) => void) => (timer: unknown) => {
    if (timer instanceof SimulatedTimer) timer.cancel();
    else otherwise(timer as never);
  };
  Object.assign(globalThis, {
    Date: SimulatedDate,
    setTimeout: (action: Action, delayMs = 1, ...all: unknown[]) => {
      const { after } = simulated() ?? {};
      if (after === undefined) return real.setTimeout(action, delayMs, ...all);
      return new SimulatedTimer(() => after(Math.max(1, delayMs), () => action(...all)));
    },
    setInterval: (action: Action, delayMs = 1, ...all: unknown[]) => {
      const { after } = simulated() ?? {};
      if (after === undefined) return real.setInterval(action, delayMs, ...all);
      const timer: SimulatedTimer = new SimulatedTimer(() =>
        after(Math.max(1, delayMs), () => {
          timer.refresh();
          action(...all);
        }),
      );
      return timer;
    },
    setImmediate: (action: Action, ...all: unknown[]) => {
      const { soon } = simulated() ?? {};
      if (soon === undefined) return real.setImmediate(action, ...all);
      return new SimulatedTimer(() => soon(() => action(...all)));
    },
    clearTimeout: cancel(real.clearTimeout),
    clearInterval: cancel(real.clearInterval),
    clearImmediate: cancel(real.clearImmediate),
  });
  Object.defineProperty(performance, 'now', {
    configurable: true,
    value: () => (world === undefined ? real.performanceNow() : world.elapsedMs),
  });
  Math.random = () => (world === undefined ? real.random() : world.jitter.next());
  AbortSignal.timeout = (delayMs) => {
    if (world === undefined) return real.signalTimeout(delayMs);
    const controller = new AbortController();
    world.after(delayMs, () => controller.abort(new DOMException('The operation timed out', 'TimeoutError')));
    return controller.signal;
  };
}

function simulated(): Pick<SimulatedGlobals, 'after' | 'soon'> | undefined {
  const current = world;
  if (current === undefined) return undefined;
  return {
    after: (delayMs, action) => current.after(delayMs, action),
    soon: (action) => current.soon(action),
  };
}
