import { topologyOf } from '@flotilla/messaging';
import { SimulatedJetStream, type CrossingKind } from '@flotilla/messaging/simulation';
import { OutgoingMessages } from '@flotilla/service/testing';
import {
  SeededRandom,
  Simulation,
  currentProcess,
  type SimulatedProcess,
} from '@flotilla/testing/simulation';
import { databases as databaseNames } from '../checks/fleet-facts.ts';
import { lossOf, type FaultPlan, type TimedFault } from '../faults.ts';
import type { Scenario } from '../scenario.ts';
import { Customers, Operator } from './customers.ts';
import { databaseUrl, type Databases, type StepPoint } from './databases.ts';
import { faultyProvider } from './faulty-provider.ts';
import type { Row } from './rows.ts';
import { bootService, whyNotStarted, type Tampering } from './service-process.ts';
import type { SimulatedService } from './services.ts';
import { stockProducts } from './templates.ts';
import { KillerMessage } from './killer-message.ts';
import { Faults } from './world-faults.ts';

export interface WorldParts {
  readonly seed: number;
  readonly trace: boolean;
  readonly scenario: Scenario;
  readonly faults: FaultPlan;
  readonly databases: Databases;
  readonly services: readonly SimulatedService[];
  readonly tampering: readonly Tampering[];
}

/** One place for a process of a service; after a crash another run of it takes the place. */
interface Slot {
  readonly service: SimulatedService;
  readonly name: string;
  process: SimulatedProcess | undefined;
  up: boolean;
}

/** How a simulation ended. */
export interface WorldEnd {
  readonly quiet: boolean;
  /** What still waits, where it is not quiet. */
  readonly waiting: readonly string[];
}

/** After faults have stopped everything must end within this simulated time, in milliseconds. */
const LIVENESS_MS = 25 * 60_000;
const MOST_EVENTS = 400_000;
const LOOK_EVERY_MS = 500;

/** The fleet and everybody around it, in one simulation. */
export class World {
  readonly simulation: Simulation;
  readonly jetstream: SimulatedJetStream;
  readonly faults: Faults;
  readonly customers: Customers;
  readonly killer: KillerMessage;
  readonly #parts: WorldParts;
  readonly #slots: Slot[];
  readonly #operator: Operator;
  readonly #outside: SimulatedProcess;
  readonly #ids: SeededRandom;
  /** Whose connection it is. */
  readonly #connections = new Map<number, SimulatedProcess>();
  #crashes = 0;
  #quiet = false;
  /** What the trace was last told that everything waits for. */
  #waitsFor: string | undefined;

  constructor(parts: WorldParts) {
    const { seed, trace, scenario, services } = parts;
    this.#parts = parts;
    this.simulation = new Simulation({ seed, trace });
    this.faults = new Faults(parts.faults, this.simulation);
    this.#ids = new SeededRandom(seed, 'ids');
    this.killer = new KillerMessage(this.simulation, this.faults, (process) => {
      const slot = this.#slots.find((each) => each.process === process);
      if (slot !== undefined) this.#crash(slot);
    });
    const topology = topologyOf(
      services.map(({ manifest }) => manifest),
      { ackWaitMs: scenario.ackWaitMs },
    );
    this.jetstream = new SimulatedJetStream(topology, {
      clock: this.simulation.clock,
      crossing: (kind) => this.#crossing(kind),
      deliver: (delayMs, label, arrive) =>
        this.simulation.outside(() => {
          this.simulation.after(delayMs, arrive, label === '' ? undefined : label);
        }),
      impatient: () => this.faults.happens('impatience'),
    });
    this.#slots = services.flatMap((service) =>
      Array.from({ length: scenario.replicas[service.name] ?? 1 }, (_, index) => ({
        service,
        name: `${service.name}-${index + 1}`,
        process: undefined,
        up: false,
      })),
    );
    this.#outside = this.simulation.process('customers');
    const desk = {
      simulation: this.simulation,
      broker: this.jetstream.connect({ service: 'gateway', host: this.#outside }),
      outgoing: new OutgoingMessages('gateway', this.simulation.clock),
      rows: this.rows.bind(this),
    };
    this.customers = new Customers({ ...desk, scenario });
    this.#operator = new Operator({
      ...desk,
      deadLetters: () => this.jetstream.messages('DLQ').map(({ sequence }) => sequence),
      replay: (sequence) => {
        const letter = this.jetstream.messages('DLQ').find((each) => each.sequence === sequence);
        if (letter !== undefined) this.killer.letterSeen(letter.headers);
        this.jetstream.replay(sequence);
      },
    });
  }

  /** Random bytes for ids. */
  fillIds(bytes: Uint8Array): void {
    this.#ids.fill(bytes);
  }

  rows(service: string, table: string, columns?: readonly string[]): readonly Row[] {
    return this.#parts.databases.postgres.rows(this.#database(service), table, columns);
  }

  /** Lives through the scenario and its faults, waits until everything has come to rest, and has it judged. */
  async live(judge: (end: WorldEnd) => void): Promise<void> {
    const { databases, seed, scenario } = this.#parts;
    for (const name of databaseNames)
      databases.postgres.createDatabase(this.#database(name), { template: `${name}_template` });
    await stockProducts(this.#database('orders'), this.#database('inventory'), scenario.products);
    databases.serve({
      step: (point) => this.#step(point),
      now: () => new Date(this.simulation.now()),
      random: () => this.simulation.jitter.next(),
      after: (ms, action) => {
        const timer = this.simulation.outside(() => this.simulation.after(ms, action));
        return () => timer.cancel();
      },
    });
    try {
      this.#begin(seed);
      await this.simulation.run(() => !this.faults.active, {
        withinMs: this.faults.plan.untilMs + 1,
        maxEvents: MOST_EVENTS,
      });
      this.faults.end();
      this.simulation.tell('nothing breaks any more');
      if (!this.jetstream.up) this.jetstream.start();
      this.#outside.run(() => void this.#operator.work());
      this.#lookForQuiet();
      const end = await this.simulation.run(() => this.#quiet, {
        withinMs: LIVENESS_MS,
        maxEvents: MOST_EVENTS,
      });
      judge({ quiet: end === 'done', waiting: end === 'done' ? [] : [end, ...this.#whatWaits()] });
    } finally {
      for (const { process } of this.#slots) process?.crash();
      databases.serve(undefined);
      for (const name of databaseNames) databases.postgres.dropDatabase(this.#database(name));
    }
  }

  #database(service: string): string {
    return `${service}_${this.#parts.seed}`;
  }

  #begin(seed: number): void {
    const random = new SeededRandom(seed, 'starts');
    for (const slot of this.#slots) this.simulation.after(random.int(0, 40), () => this.#start(slot));
    this.#outside.run(() => this.customers.start());
    for (const fault of this.faults.plan.timed)
      this.simulation.after(fault.atMs, () => this.#breakThing(fault));
  }

  #start(slot: Slot): void {
    const { simulation, jetstream } = this;
    const { service, name } = slot;
    const process = simulation.process(name);
    slot.process = process;
    simulation.tell('starts', name);
    process.run(() => {
      void bootService({
        service,
        process,
        simulation,
        jetstream,
        env: {
          ...this.#parts.scenario.env,
          PORT: '0',
          NATS_URL: 'nats://simulated',
          DATABASE_URL: databaseUrl(this.#database(service.name)),
        },
        tampering: [
          {
            part: (token, part) => this.#replace(token, part),
            broker: (broker, connected) => this.killer.behind(broker, service.name, connected),
          },
          ...this.#parts.tampering,
        ],
      }).then(
        () => {
          if (!process.alive) return;
          slot.up = true;
          simulation.tell('is ready');
        },
        (error: unknown) => {
          if (!process.alive) return;
          simulation.tell(whyNotStarted(error));
          this.#crash(slot);
        },
      );
    });
  }

  /** The world outside of the services' own. */
  #replace(token: unknown, part: unknown): unknown {
    if (typeof token === 'function' && token.name === 'PaymentProvider')
      return faultyProvider(part as object, this.simulation, this.faults);
    return part;
  }

  #crash(slot: Slot): void {
    const { process } = slot;
    if (process?.alive !== true) return;
    process.crash();
    slot.up = false;
    this.simulation.outside(() => {
      // The server sees its connections end, and rolls back.
      this.simulation.after(0, () => this.#disconnect(slot.service.name, process));
      const delayMs = this.simulation.drawLatency(50, 3_000);
      this.simulation.after(delayMs, () => this.#start(slot));
    });
  }

  #disconnect(service: string, process: SimulatedProcess): void {
    this.#parts.databases.postgres.disconnect(
      this.#database(service),
      (connection) => this.#connections.get(connection) === process,
    );
  }

  #breakThing(fault: TimedFault): void {
    const { jetstream, simulation } = this;
    switch (fault.kind) {
      case 'crash': {
        const slot = this.#slots[fault.process % this.#slots.length];
        if (slot !== undefined) {
          this.faults.count('crash');
          this.#crash(slot);
        }
        return;
      }
      case 'brokerRestart':
        this.#restartBroker(fault.forMs);
        return;
      case 'streamLoss': {
        const lossy = jetstream.streams.filter(({ name }) => /^(?:CMD|EVT|REPLY)_/.test(name));
        const stream = lossy[fault.stream % lossy.length];
        if (stream === undefined || !jetstream.up) return;
        this.faults.count('streamLoss');
        simulation.tell(`loses the stream ${stream.name}`, 'broker');
        jetstream.loseStream(stream.name);
        this.#restartBroker(100);
      }
    }
  }

  #restartBroker(forMs: number): void {
    if (!this.jetstream.up) return;
    this.faults.count('brokerRestart');
    this.simulation.tell(`is away for ${forMs} ms`, 'broker');
    this.jetstream.stop();
    this.simulation.after(forMs, () => {
      this.simulation.tell('is back', 'broker');
      this.jetstream.start();
    });
  }

  #crossing(kind: CrossingKind): { lost: boolean; delayMs: number } {
    const loss = lossOf[kind];
    const lost = loss !== undefined && this.faults.happens(loss);
    const delayMs = this.faults.happens('slowCrossing')
      ? this.faults.int(500, 7_000)
      : this.simulation.drawLatency(0.05, 3);
    return { lost, delayMs };
  }

  /** One step of the database: takes its time, and may be the last of its connection or of its process. */
  async #step({ kind, text, connection }: StepPoint): Promise<void> {
    const running = currentProcess();
    if (kind === 'connect' && running !== undefined) this.#connections.set(connection, running);
    const process = this.#connections.get(connection) ?? running;
    assertAlive(process);
    // Nothing can be seen of where between two statements a setting is made, or not.
    if (kind === 'statement' && text.startsWith('SET LOCAL ')) return;
    const fault = this.#databaseFault(kind, text, process);
    if (fault !== undefined) {
      this.simulation.tell(`${fault} at ${kind} ${labelOf(text)}`, process?.name);
      if (fault === 'dies') {
        const slot = this.#slots.find((each) => each.process === process);
        if (slot !== undefined) this.#crash(slot);
      }
      throw new Error(fault === 'dies' ? 'the process has died' : 'the simulated connection broke');
    }
    if (kind === 'answer') return;
    const slow = this.faults.happens('slowStatement');
    const takesMs = slow
      ? this.faults.int(1_000, 4_000)
      : this.simulation.drawLatency(0.05, this.#parts.scenario.statementMs * (kind === 'commit' ? 3 : 1));
    const wait = (): Promise<void> => this.simulation.takes(takesMs, `${kind} ${labelOf(text)}`);
    await (process === undefined ? wait() : process.run(wait));
    assertAlive(process);
  }

  #databaseFault(
    kind: StepPoint['kind'],
    text: string,
    process: SimulatedProcess | undefined,
  ): 'dies' | 'breaks' | undefined {
    if (process === undefined || !this.faults.active) return undefined;
    const commits = kind === 'commit' || (kind === 'answer' && /^\s*COMMIT/i.test(text));
    if (!commits && kind !== 'statement') return undefined;
    const crash = this.faults.happens(commits ? 'crashAtCommit' : 'crashAtStatement');
    if (crash && this.#crashes < this.faults.plan.mostCrashes) {
      this.#crashes++;
      return 'dies';
    }
    return this.faults.happens(commits ? 'brokenCommit' : 'brokenConnection') ? 'breaks' : undefined;
  }

  #lookForQuiet(): void {
    this.simulation.after(LOOK_EVERY_MS, () => {
      const [first] = this.#whatWaits();
      if (first === undefined) this.#quiet = true;
      else {
        if (first !== this.#waitsFor)
          this.simulation.trace.note(this.simulation.elapsedMs, 'world', `waits: ${first}`);
        this.#waitsFor = first;
        this.#lookForQuiet();
      }
    });
  }

  /** What is still under way; nothing is good. */
  #whatWaits(): string[] {
    const waiting: string[] = [];
    if (!this.customers.content) waiting.push('a customer waits');
    for (const { name, up } of this.#slots) if (!up) waiting.push(`${name} is not up`);
    if (waiting.length > 0) return waiting;
    for (const { name: stream, consumers } of this.jetstream.streams) {
      for (const { name, waiting: behind, unacknowledged } of consumers.values())
        if (behind + unacknowledged > 0)
          waiting.push(`${stream}/${name}: ${behind} + ${unacknowledged} messages`);
    }
    const letters = this.jetstream.messages('DLQ');
    if (letters.length > 0) {
      const why = letters.map(({ headers }) => `${headers['ce-type']} ${headers['flotilla-error-message']}`);
      waiting.push(`${letters.length} dead letters: ${why.join('; ')}`);
    }
    if (waiting.length > 0) return waiting;
    for (const row of this.rows('orders', 'saga_instances', ['saga', 'id', 'status', 'step'])) {
      const status = String(row['status']);
      if (status !== 'completed' && status !== 'compensated')
        waiting.push(
          `${row['saga'] as string} ${row['id'] as string} is ${status} at ${row['step'] as string}`,
        );
    }
    for (const name of databaseNames) {
      const unpublished = this.rows(name, 'outbox', ['published_at']).filter(
        (row) => row['published_at'] === null,
      ).length;
      if (unpublished > 0) waiting.push(`${name}: ${unpublished} messages are not published`);
    }
    for (const row of this.rows('shipping', 'shipments', ['id', 'status', 'due_at']))
      if (row['due_at'] !== null)
        waiting.push(`shipment ${row['id'] as string} is ${row['status'] as string}`);
    return waiting;
  }
}

const labels = new Map<string, string>();
const MOST_LABELS = 2_000;

/** The first words of a statement. */
function labelOf(text: string): string {
  let label = labels.get(text);
  if (label === undefined) {
    label = text.replace(/\s+/g, ' ').trim().slice(0, 70);
    if (labels.size < MOST_LABELS) labels.set(text, label);
  }
  return label;
}

/** The wishes of the dead are not carried out. */
function assertAlive(process: SimulatedProcess | undefined): void {
  if (process !== undefined && !process.alive) throw new Error('the process behind this connection is dead');
}
