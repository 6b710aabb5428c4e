import { createHook, type AsyncHook } from 'node:async_hooks';
import { jetstreamManager } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';
import { FlotillaError, systemClock } from '@flotilla/kernel';
import type { TestDatabase } from './test-database.ts';

export interface LeakGuardOptions {
  /** Databases on which no connection may be left. */
  readonly databases?: () => readonly Pick<TestDatabase, 'name' | 'connections'>[];
  /** A server on which no stream and no consumer may be left that was not there before. */
  readonly jetStream?: {
    readonly url: () => string;
    /** What the test may leave: a stream as "EVT_orders", a consumer as "EVT_orders/tracking". */
    readonly expected?: readonly (string | RegExp)[];
  };
  /** Whether timers, sockets, servers and child processes are watched. Default true. */
  readonly handles?: boolean;
  /** How long something may take to go away by itself, as a closing socket does. Default 2,000 ms. */
  readonly graceMs?: number;
}

export interface LeakGuard {
  /** Call before the code under test: remembers what is there. */
  begin(): Promise<void>;
  /** Call after its clean-up: throws {@link LeakError} when it left something behind. */
  check(): Promise<void>;
}

/** Thrown when a test leaves something behind. Code `TEST_LEAKED`. */
export class LeakError extends FlotillaError {
  /** One line for each: what it is, and where it comes from. */
  readonly leaks: readonly string[];

  constructor(leaks: readonly string[]) {
    super('TEST_LEAKED', `The test left behind:\n${leaks.map((leak) => `  - ${leak}`).join('\n')}`, {
      retry: 'never',
    });
    this.leaks = leaks;
  }
}

/**
 * Finds what a test does not clean up: connections to its databases, JetStream streams and consumers, and
 * live timers, sockets, servers and child processes, these with the line that created them.
 */
export function leakGuard(options: LeakGuardOptions = {}): LeakGuard {
  const handles = new HandleWatch();
  let jetStreamBefore: ReadonlySet<string> = new Set();
  const leaks = async (): Promise<string[]> => {
    const found: string[] = [];
    for (const database of options.databases?.() ?? []) {
      for (const line of await database.connections())
        found.push(`a connection to ${database.name}: ${line}`);
    }
    if (options.jetStream !== undefined) {
      const expected = options.jetStream.expected ?? [];
      for (const name of await jetStreamNames(options.jetStream.url())) {
        if (!jetStreamBefore.has(name) && !expected.some((pattern) => matches(name, pattern))) {
          found.push(`the ${name.includes('/') ? 'consumer' : 'stream'} ${name}`);
        }
      }
    }
    return [...found, ...handles.alive()];
  };
  return {
    async begin() {
      if (options.jetStream !== undefined) jetStreamBefore = await jetStreamNames(options.jetStream.url());
      if (options.handles !== false) handles.start();
    },
    async check() {
      handles.stop();
      const deadline = systemClock.monotonicMs() + (options.graceMs ?? 2_000);
      try {
        for (let left = await leaks(); left.length > 0; left = await leaks()) {
          if (systemClock.monotonicMs() > deadline) throw new LeakError(left);
          await systemClock.sleep(20);
        }
      } finally {
        handles.forget();
      }
    },
  };
}

/**
 * Puts a {@link leakGuard} around every test of the file or `describe` block it is called in. Call it after
 * the block's own `afterEach`: Jest runs them in the order they are declared, and clean-up has to come first.
 */
export function installLeakGuard(options: LeakGuardOptions = {}): void {
  const guard = leakGuard(options);
  beforeEach(() => guard.begin());
  afterEach(() => guard.check());
}

function matches(name: string, pattern: string | RegExp): boolean {
  return typeof pattern === 'string' ? pattern === name : pattern.test(name);
}

async function jetStreamNames(url: string): Promise<Set<string>> {
  const connection = await connect({ servers: url });
  try {
    const manager = await jetstreamManager(connection);
    const names = new Set<string>();
    for await (const stream of manager.streams.list()) {
      names.add(stream.config.name);
      for await (const consumer of manager.consumers.list(stream.config.name)) {
        names.add(`${stream.config.name}/${consumer.name}`);
      }
    }
    return names;
  } finally {
    await connection.close();
  }
}

const watched: Readonly<Record<string, string>> = {
  Timeout: 'a timer',
  TCPWRAP: 'a socket',
  TCPSERVERWRAP: 'a listening socket',
  PIPEWRAP: 'a pipe',
  PIPESERVERWRAP: 'a listening pipe',
  PROCESSWRAP: 'a child process',
  UDPWRAP: 'a UDP socket',
  WORKER: 'a worker thread',
  FSEVENTWRAP: 'a file watcher',
};

interface Handle {
  readonly kind: string;
  readonly resource: object;
  readonly stack: string;
}

/** Follows the handles that keep a process alive, from their creation to their end. */
class HandleWatch {
  readonly #handles = new Map<number, Handle>();
  #watching = false;
  readonly #hook: AsyncHook = createHook({
    init: (id, type, _trigger, resource) => {
      const kind = watched[type];
      if (kind !== undefined && this.#watching) this.#handles.set(id, { kind, resource, stack: callStack() });
    },
    destroy: (id) => {
      this.#handles.delete(id);
    },
    trackPromises: false,
  });

  start(): void {
    this.#handles.clear();
    this.#watching = true;
    this.#hook.enable();
  }

  /** Notices no new handles from now on, but still the end of the known ones. */
  stop(): void {
    this.#watching = false;
  }

  forget(): void {
    this.#hook.disable();
    this.#handles.clear();
  }

  alive(): string[] {
    const lines: string[] = [];
    for (const { kind, resource, stack } of this.#handles.values()) {
      // Whatever does not keep the process alive is no harm; a closed handle says false too.
      if (!keepsAlive(resource)) continue;
      const frames = stack.split('\n').filter((line) => !line.includes('(node:') && !line.includes(' node:'));
      // The test runner's own: a time limit for each test and hook.
      if (frames[0] !== undefined && /[\\/](jest-[\w-]+|@jest)[\\/]/.test(frames[0])) continue;
      const own = frames.find((line) => !line.includes('node_modules')) ?? frames[0];
      // Some are made a tick later, when the line that asked for them is off the stack: server.listen() is one.
      lines.push(
        own === undefined
          ? `${kind}, created by Node later than it was asked for`
          : `${kind} created ${own.trim()}`,
      );
    }
    return lines;
  }
}

function keepsAlive(resource: object): boolean {
  if (!('hasRef' in resource) || typeof resource.hasRef !== 'function') return true;
  return Reflect.apply(resource.hasRef, resource, []) !== false;
}

function callStack(): string {
  const { stackTraceLimit } = Error;
  Error.stackTraceLimit = 40;
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, callStack);
  Error.stackTraceLimit = stackTraceLimit;
  const lines = (holder.stack ?? '').split('\n').slice(1);
  // The hook itself is in the first line.
  return lines.slice(1).join('\n');
}
