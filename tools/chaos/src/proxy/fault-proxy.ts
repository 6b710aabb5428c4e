import { createServer, connect, type Server, type Socket } from 'node:net';
import { loopback } from '@flotilla/embedded';
import { systemClock } from '@flotilla/kernel';
import type { Frame, Framer, Protocol } from './frames.ts';

/** `up` is from the client to the server. */
export type Direction = 'up' | 'down';

/** What becomes of a frame that a watcher has seen: it is sent on, or the connection is reset on both ends without it. */
export type Verdict = 'pass' | 'reset' | 'drop';

/** Sees every frame before it is sent on. */
export type Watcher = (frame: Frame, direction: Direction, connection: ProxiedConnection) => Verdict;

export interface ProxiedConnection {
  /** Counted from 1. */
  readonly id: number;
}

export interface FaultProxyOptions {
  readonly targetHost?: string;
  readonly targetPort: number;
  readonly protocol: Protocol;
}

/** So much waits in one direction at most before its sender is no longer read from. */
const MAX_WAITING_BYTES = 4 * 1024 ** 2;

/**
 * Stands between a process and a server on the loopback address and makes what networks do: latency, a direction in
 * which nothing arrives, connections that are reset, at a frame of the protocol if wanted. Without a fault it sends on
 * what comes.
 */
export class FaultProxy {
  readonly port: number;
  readonly #options: FaultProxyOptions;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  readonly #watchers = new Set<Watcher>();
  #latencyMs: Readonly<Record<Direction, number>> = { up: 0, down: 0 };
  #held: Readonly<Record<Direction, boolean>> = { up: false, down: false };
  #count = 0;

  private constructor(options: FaultProxyOptions, server: Server, port: number) {
    this.#options = options;
    this.#server = server;
    this.port = port;
    server.on('connection', (client) => this.#accept(client));
  }

  /** Listens on a free port of the loopback address. */
  static async listen(options: FaultProxyOptions): Promise<FaultProxy> {
    // The client's half-closed end is seen and handed on, in its turn.
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ port: 0, host: loopback }, resolve);
    });
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('The proxy has no TCP address');
    return new FaultProxy(options, server, address.port);
  }

  /** Open connections. */
  get connections(): number {
    return this.#links.size;
  }

  get latencyMs(): Readonly<Record<Direction, number>> {
    return this.#latencyMs;
  }

  /** Delays what comes from now on; each byte by the same time, so that the order stays. */
  set latencyMs(latencyMs: Readonly<Record<Direction, number>>) {
    this.#latencyMs = latencyMs;
  }

  get held(): Readonly<Record<Direction, boolean>> {
    return this.#held;
  }

  /**
   * Lets nothing through in a direction, of new connections too, as when packets are lost on the way: nobody is told.
   * What was sent meanwhile arrives when the direction is let go, as TCP would send it again.
   */
  hold(held: Partial<Record<Direction, boolean>>): void {
    this.#held = { up: held.up === true, down: held.down === true };
    for (const link of this.#links) link.changed();
  }

  /** Shows every frame to `watcher` from now on; returns the function that ends that. */
  watch(watcher: Watcher): () => void {
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  /** Resets all connections on both ends; how many there were. */
  resetAll(): number {
    const links = [...this.#links];
    for (const link of links) link.reset();
    return links.length;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.resetAll();
    await closed;
  }

  #accept(client: Socket): void {
    this.#count += 1;
    const { targetHost = loopback, targetPort, protocol } = this.#options;
    const server = connect({ host: targetHost, port: targetPort, allowHalfOpen: true });
    const link: Link = new Link(this.#count, client, server, protocol, {
      latencyMs: (direction) => this.#latencyMs[direction],
      held: (direction) => this.#held[direction],
      judge: (frame, direction) => this.#judge(frame, direction, link),
      closed: () => this.#links.delete(link),
    });
    this.#links.add(link);
  }

  /** The first watcher that wants more than passing on has the say. */
  #judge(frame: Frame, direction: Direction, link: Link): Verdict {
    for (const watcher of this.#watchers) {
      const verdict = watcher(frame, direction, link);
      if (verdict !== 'pass') return verdict;
    }
    return 'pass';
  }
}

interface LinkRules {
  latencyMs(direction: Direction): number;
  held(direction: Direction): boolean;
  judge(frame: Frame, direction: Direction): Verdict;
  closed(): void;
}

/** One connection: the client's, the server's, and a lane in each direction. */
class Link implements ProxiedConnection {
  readonly id: number;
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #lanes: readonly Lane[];
  readonly #rules: LinkRules;

  constructor(id: number, client: Socket, server: Socket, protocol: Protocol, rules: LinkRules) {
    this.id = id;
    this.#client = client;
    this.#server = server;
    this.#rules = rules;
    this.#lanes = [
      new Lane('up', client, server, protocol.up(), rules, () => this.reset()),
      new Lane('down', server, client, protocol.down(), rules, () => this.reset()),
    ];
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      socket.setNoDelay(true);
      // The other end learns of it as it would without a proxy in between: by a reset.
      socket.on('error', () => other.resetAndDestroy());
      socket.on('close', () => {
        if (client.destroyed && server.destroyed) this.#closed();
      });
    }
  }

  reset(): void {
    // A connection that is only being made cannot be reset: it is given up.
    for (const socket of [this.#client, this.#server]) {
      if (socket.connecting) socket.destroy();
      else socket.resetAndDestroy();
    }
  }

  /** A direction was held, or let go. */
  changed(): void {
    for (const lane of this.#lanes) lane.flush();
  }

  #closed(): void {
    for (const lane of this.#lanes) lane.close();
    this.#rules.closed();
  }
}

interface Waiting {
  /** Undefined: the end of what comes. */
  readonly bytes: Buffer | undefined;
  readonly dueMs: number;
}

class Lane {
  readonly #direction: Direction;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #framer: Framer;
  readonly #rules: LinkRules;
  readonly #reset: () => void;
  readonly #waiting: Waiting[] = [];
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    direction: Direction,
    from: Socket,
    to: Socket,
    framer: Framer,
    rules: LinkRules,
    reset: () => void,
  ) {
    this.#direction = direction;
    this.#from = from;
    this.#to = to;
    this.#framer = framer;
    this.#rules = rules;
    this.#reset = reset;
    from.on('data', (chunk: Buffer) => this.#read(chunk));
    from.on('end', () => this.#push(undefined));
    to.on('drain', () => this.#readOn());
  }

  flush(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = undefined;
    const now = systemClock.monotonicMs();
    while (!this.#rules.held(this.#direction)) {
      const next = this.#waiting[0];
      if (next === undefined) break;
      if (next.dueMs > now) {
        this.#timer = setTimeout(() => this.flush(), next.dueMs - now);
        break;
      }
      this.#waiting.shift();
      this.#write(next.bytes);
    }
    this.#readOn();
  }

  close(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#waiting.length = 0;
    this.#waitingBytes = 0;
  }

  #read(chunk: Buffer): void {
    const passed: Buffer[] = [];
    for (const frame of this.#framer.push(chunk)) {
      const verdict = this.#rules.judge(frame, this.#direction);
      if (verdict === 'reset') {
        // What came before it is on its way already.
        if (passed.length > 0) this.#push(Buffer.concat(passed));
        this.#reset();
        return;
      }
      if (verdict === 'pass') passed.push(frame.bytes);
    }
    const [first] = passed;
    if (first !== undefined) this.#push(passed.length === 1 ? first : Buffer.concat(passed));
  }

  #push(bytes: Buffer | undefined): void {
    const latencyMs = this.#rules.latencyMs(this.#direction);
    const last = this.#waiting.at(-1);
    if (latencyMs === 0 && last === undefined && !this.#rules.held(this.#direction)) {
      this.#write(bytes, false);
      return;
    }
    const dueMs = Math.max(systemClock.monotonicMs() + latencyMs, last?.dueMs ?? 0);
    this.#waiting.push({ bytes, dueMs });
    this.#waitingBytes += bytes?.length ?? 0;
    if (this.#waitingBytes > MAX_WAITING_BYTES) this.#from.pause();
    if (last === undefined) this.flush();
  }

  #write(bytes: Buffer | undefined, waited = true): void {
    if (waited) this.#waitingBytes -= bytes?.length ?? 0;
    if (this.#to.destroyed) return;
    if (bytes === undefined) this.#to.end();
    else if (!this.#to.write(bytes)) this.#from.pause();
  }

  #readOn(): void {
    if (this.#from.isPaused() && !this.#to.writableNeedDrain && this.#waitingBytes <= MAX_WAITING_BYTES) {
      this.#from.resume();
    }
  }
}
