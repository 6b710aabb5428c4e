import { deadLetterHeader, type Broker } from '@flotilla/messaging';
import type { SimulatedProcess, Simulation } from '@flotilla/testing/simulation';
import { withMethods } from './with-methods.ts';
import type { Faults } from './world-faults.ts';

/** A process is ended as soon as something else is handled beside the message, and after so many milliseconds anyway. */
const STRIKES_WITHIN_MS = 300;
/**
 * Three times beside others and three alone; before that as a request, and three times more for each time that its sender
 * repeats it meanwhile. More means that nobody has understood.
 */
const MOST_STRIKES = 13;

/**
 * At most one message of a simulation ends each process that handles it, from its stream or as a request, before anything
 * of its work is committed, and whether or not other faults still happen; until it is a dead letter: then it is mended.
 */
export class KillerMessage {
  /** What is not as it must be. */
  readonly complaints: string[] = [];
  readonly #simulation: Simulation;
  readonly #faults: Faults;
  readonly #crash: (process: SimulatedProcess) => void;
  #handled = 0;
  #victim: string | undefined;
  #strikes = 0;
  #mended = false;

  constructor(simulation: Simulation, faults: Faults, crash: (process: SimulatedProcess) => void) {
    this.#simulation = simulation;
    this.#faults = faults;
    this.#crash = crash;
  }

  /** The connection of a process, whose handlers may end it. */
  behind(broker: Broker, service: string, process: SimulatedProcess): Broker {
    if (this.#faults.plan.killerAt === undefined) return broker;
    /** Handlers that run in the process. */
    let running = 0;
    /** Strikes, if the killer waits for somebody to be beside it. */
    let strike: (() => void) | undefined;
    const handle = async <T>(id: string, fromStream: boolean, handler: () => Promise<T>): Promise<T> => {
      const who = nameOf(service, id);
      if (fromStream) this.#choose(who);
      if (this.#kills(who)) {
        strike = this.#strike(process);
        if (running > 0) strike();
        return new Promise(() => undefined);
      }
      running++;
      strike?.();
      try {
        return await handler();
      } finally {
        running--;
      }
    };
    return withMethods(broker, {
      consume: (consumer, options, handler) =>
        broker.consume(consumer, options, (delivery) =>
          handle(delivery.message.envelope.id, true, () => handler(delivery)),
        ),
      serve: (subject, options, handler) =>
        broker.serve(subject, options, (message) =>
          handle(message.envelope.id, false, () => handler(message)),
        ),
    });
  }

  /** An operator sees a dead letter, and sends it back once what was wrong is mended. */
  letterSeen(headers: Readonly<Record<string, string>>): void {
    const who = nameOf(headers[deadLetterHeader.service] ?? '', headers['ce-id'] ?? '');
    if (who === this.#victim) this.#mended = true;
    else if (headers[deadLetterHeader.errorCode] === 'DELIVERY_COUNT_EXCEEDED')
      this.complaints.push(
        `${who} (${headers['ce-type']}) never ended a process, and is a dead letter for it`,
      );
  }

  /** One that comes from a stream: a request that ends its process comes again only if its sender repeats it. */
  #choose(who: string): void {
    if (this.#victim !== undefined || !this.#faults.active) return;
    this.#handled++;
    if (this.#handled !== this.#faults.plan.killerAt) return;
    this.#victim = who;
    this.#simulation.tell(`${who} ends whoever handles it from now on`);
  }

  #kills(who: string): boolean {
    return who === this.#victim && !this.#mended;
  }

  /** Returns what ends the process at once; it ends by itself a little later. */
  #strike(process: SimulatedProcess): () => void {
    this.#faults.count('killerMessage');
    if (++this.#strikes === MOST_STRIKES)
      this.complaints.push(
        `${this.#victim} has ended its process ${MOST_STRIKES} times, and is no dead letter`,
      );
    const end = (afterMs: number): void =>
      this.#simulation.outside(() => void this.#simulation.after(afterMs, () => this.#crash(process)));
    end(STRIKES_WITHIN_MS);
    return () => end(0);
  }
}

function nameOf(service: string, id: string): string {
  return `${id} at ${service}`;
}
