import { decodeEnvelope, envelopeHeader, readFailure } from '@flotilla/contracts-protocol';
import { FlotillaError, newId } from '@flotilla/kernel';
import { until } from '@flotilla/testing';
import type { Broker, ConsumeOptions, Delivery, IncomingMessage, OutgoingMessage } from '../broker.ts';
import { deadLetterHeader, replayHeader } from '../dead-letter.ts';
import type { Topology } from '../topology.ts';
import {
  conformanceTopology,
  controlLog,
  controlScreen,
  launch,
  launched,
  launchRequest,
  launchRpc,
  okReply,
  padCommands,
  payloadOf,
} from './conformance-messages.ts';

/** What the suite needs to know of a dead letter. */
export interface SeenDeadLetter {
  readonly subject: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** One broker implementation under test; each test gets a fresh one with nothing on it. */
export interface BrokerHarness {
  /** Makes streams and consumers. */
  provision(topology: Topology): Promise<void>;
  /** One more broker on the same network, as another process would have. */
  connect(service: string): Promise<Broker>;
  /** Ends a broker as a process that is killed: it settles nothing any more, and tells nobody. */
  crash(broker: Broker): Promise<void>;
  deadLetters(): Promise<readonly SeenDeadLetter[]>;
  dispose(): Promise<void>;
}

const quick: ConsumeOptions = { backoff: { initialMs: 5, maxMs: 20 } };

/** A gate that handlers wait at, so that a test decides when they end. */
class Gate {
  waiting = 0;
  readonly #open: (() => void)[] = [];
  #isOpen = false;

  pass(): Promise<void> {
    if (this.#isOpen) return Promise.resolve();
    this.waiting++;
    return new Promise((resolve) => this.#open.push(resolve));
  }

  open(): void {
    this.#isOpen = true;
    for (const each of this.#open.splice(0)) each();
  }
}

/**
 * What every {@link Broker} must do. Call it in a spec of each implementation:
 * `brokerConformance('in memory', async () => harness)`.
 */
export function brokerConformance(name: string, makeHarness: () => Promise<BrokerHarness>): void {
  describe(`broker conformance: ${name}`, () => {
    let harness: BrokerHarness;
    let pad: Broker;
    let control: Broker;

    beforeEach(async () => {
      harness = await makeHarness();
      await harness.provision(conformanceTopology());
      [pad, control] = await Promise.all([harness.connect('pad'), harness.connect('control')]);
    });

    afterEach(async () => {
      await Promise.all([pad.close({ drainMs: 0 }), control.close({ drainMs: 0 })]);
      await harness.dispose();
    });

    describe('publish', () => {
      it('says where the message is kept, and the same place when it is published again', async () => {
        const message = launch('ariane');
        const first = await control.publish(message);
        expect(first).toEqual({ stream: 'CMD_pad', sequence: 1, duplicate: false });
        expect(await control.publish(message)).toEqual({ ...first, duplicate: true });
        const other = await control.publish(launch('ariane'));
        expect(other.sequence).toBeGreaterThan(first.sequence);
      });

      it('fails with NO_STREAM where no stream takes the subject', async () => {
        const lost = { ...launch('ariane'), subject: 'cmd.nobody.Launch.v1.0.ariane' };
        await expect(control.publish(lost)).rejects.toMatchObject({ code: 'NO_STREAM' });
      });
    });

    describe('consume', () => {
      it('gives the handler each message once, decoded, and never again once it returned', async () => {
        const seen: Delivery[] = [];
        const consumption = await pad.consume(
          padCommands,
          quick,
          async (delivery) => void seen.push(delivery),
        );
        const message = launch('ariane', 7);
        await control.publish(message);
        await control.publish(launch('vega', 8));
        await until(() => seen.length === 2);
        expect(seen[0]?.message.envelope).toEqual(decodeEnvelope((header) => message.headers[header]));
        expect(seen.map(({ message: each }) => payloadOf(each))).toEqual([
          { rocket: 'ariane', n: 7 },
          { rocket: 'vega', n: 8 },
        ]);
        expect(seen[0]).toMatchObject({ attempt: 1, stream: 'CMD_pad', sequence: 1 });
        await consumption.stop();
        expect(consumption.state().status).toBe('stopped');

        await pad.consume(padCommands, quick, async (delivery) => void seen.push(delivery));
        await control.publish(launch('vega', 9));
        await until(() => seen.length === 3);
        expect(payloadOf(seen[2]!.message).n).toBe(9);
      });

      it('rejects when the consumer is not there', async () => {
        const nowhere = { stream: 'CMD_pad', name: 'nobody' };
        await expect(pad.consume(nowhere, {}, async () => undefined)).rejects.toMatchObject({
          code: 'MISSING_TOPOLOGY',
        });
      });

      it('rejects options that make no sense, all at once', async () => {
        const options = { maxInFlight: 0, maxAttempts: 1.5 };
        await expect(pad.consume(padCommands, options, async () => undefined)).rejects.toThrow(
          /maxInFlight must be .* 0; maxAttempts must be .* 1.5/,
        );
      });

      it('gives an event to every consumer of it', async () => {
        const seen: string[] = [];
        await control.consume(controlLog, quick, async () => void seen.push('log'));
        await control.consume(
          controlScreen,
          { ...quick, ordered: true },
          async () => void seen.push('screen'),
        );
        await pad.publish(launched('ariane'));
        await until(() => seen.length === 2);
        expect(seen.sort()).toEqual(['log', 'screen']);
      });

      it('runs one key serially, other keys at the same time, and no more than maxInFlight', async () => {
        const gate = new Gate();
        const running = new Map<string, number>();
        let most = 0;
        let overlap = false;
        let done = 0;
        await pad.consume(padCommands, { ...quick, maxInFlight: 3 }, async ({ message }) => {
          const key = message.envelope.subject;
          running.set(key, (running.get(key) ?? 0) + 1);
          if ((running.get(key) ?? 0) > 1) overlap = true;
          most = Math.max(
            most,
            [...running.values()].reduce((sum, count) => sum + count, 0),
          );
          await gate.pass();
          running.set(key, (running.get(key) ?? 1) - 1);
          done++;
        });
        for (let n = 0; n < 4; n++) {
          for (const rocket of ['a', 'b', 'c', 'd']) await control.publish(launch(rocket, n));
        }
        await until(() => gate.waiting === 3);
        gate.open();
        await until(() => done === 16);
        expect({ most, overlap }).toEqual({ most: 3, overlap: false });
      });

      it('runs more, or fewer, at a time from when it is told to', async () => {
        const gates = [new Gate(), new Gate(), new Gate()] as const;
        let started = 0;
        for (let n = 0; n < 9; n++) await control.publish(launch(`rocket-${n}`));
        const consumption = await pad.consume(padCommands, { ...quick, maxInFlight: 1 }, async () => {
          await gates[Math.floor(started++ / 3)]?.pass();
        });
        await until(() => started === 1);
        consumption.setMaxInFlight(3);
        await until(() => gates[0].waiting === 3);
        consumption.setMaxInFlight(1);
        gates[0].open();
        await until(() => gates[1].waiting === 1 && consumption.state().inFlight === 1);
        consumption.setMaxInFlight(9);
        await until(() => started === 9);
        for (const gate of gates) gate.open();
        await until(() => consumption.state().inFlight === 0);
      });

      it('keeps the order of each key within a consumption', async () => {
        const seen = new Map<string, number[]>();
        for (let n = 0; n < 40; n++) await control.publish(launch(n % 2 === 0 ? 'even' : 'odd', n));
        await pad.consume(padCommands, { ...quick, maxInFlight: 4 }, async ({ message }) => {
          const { rocket, n } = payloadOf(message);
          await Promise.resolve();
          seen.set(rocket, [...(seen.get(rocket) ?? []), n]);
        });
        await until(() => [...seen.values()].flat().length === 40);
        expect(seen.get('even')).toEqual(Array.from({ length: 20 }, (_, i) => i * 2));
        expect(seen.get('odd')).toEqual(Array.from({ length: 20 }, (_, i) => i * 2 + 1));
      });

      it('delivers again, later and counted, what the handler failed at', async () => {
        const attempts: number[] = [];
        await pad.consume(padCommands, quick, async ({ attempt }) => {
          attempts.push(attempt);
          if (attempt < 3) throw new Error('not yet');
        });
        await control.publish(launch('ariane'));
        await until(() => attempts.length === 3);
        expect(attempts).toEqual([1, 2, 3]);
        expect(await harness.deadLetters()).toEqual([]);
      });

      it('does not deliver again what a slow handler still works on', async () => {
        const attempts: number[] = [];
        const started = performance.now();
        const gate = new Gate();
        await pad.consume(padCommands, quick, async ({ attempt }) => {
          attempts.push(attempt);
          await gate.pass();
        });
        const other: number[] = [];
        const helper = await harness.connect('pad');
        await helper.consume(padCommands, quick, async ({ attempt }) => void other.push(attempt));
        for (let n = 0; n < 4; n++) await control.publish(launch('ariane', n));
        // Well past the second that the consumer waits for an acknowledgement.
        await until(() => performance.now() - started > 2_600 && gate.waiting > 0);
        gate.open();
        await until(() => attempts.length + other.length === 4);
        await helper.close();
        expect([...attempts, ...other]).toEqual([1, 1, 1, 1]);
      }, 20_000);

      it('shares the messages of one consumer between two processes', async () => {
        const gate = new Gate();
        const counts = [0, 0];
        const second = await harness.connect('pad');
        await Promise.all(
          [pad, second].map((broker, index) =>
            broker.consume(padCommands, { ...quick, maxInFlight: 1 }, async () => {
              counts[index]!++;
              await gate.pass();
            }),
          ),
        );
        for (let n = 0; n < 10; n++) await control.publish(launch(`rocket-${n}`, n));
        await until(() => counts[0] === 1 && counts[1] === 1);
        gate.open();
        await until(() => counts[0]! + counts[1]! === 10);
        await second.close();
        expect(Math.min(...counts)).toBeGreaterThan(0);
      });

      it('keeps the order of each aggregate across two processes when ordered, also past failures', async () => {
        const second = await harness.connect('control');
        const seen = new Map<string, number[]>();
        const brokers = new Set<number>();
        await Promise.all(
          [control, second].map((broker, index) =>
            broker.consume(controlScreen, { ...quick, ordered: true }, async ({ message, attempt }) => {
              const { rocket, n } = payloadOf(message);
              if (n % 7 === 3 && attempt === 1) throw new Error('once');
              brokers.add(index);
              await new Promise((resolve) => setImmediate(resolve));
              seen.set(rocket, [...(seen.get(rocket) ?? []), n]);
            }),
          ),
        );
        const rockets = Array.from({ length: 8 }, (_, index) => `rocket-${index}`);
        for (let n = 0; n < 12; n++)
          await Promise.all(rockets.map((rocket) => pad.publish(launched(rocket, n))));
        await until(() => [...seen.values()].flat().length === rockets.length * 12);
        await second.close();
        for (const rocket of rockets)
          expect(seen.get(rocket)).toEqual(Array.from({ length: 12 }, (_, n) => n));
        expect(brokers.size).toBe(2);
      }, 20_000);
    });

    describe('large bodies', () => {
      const large = 'x'.repeat(3 * 1_024 * 1_024);
      const withText = (message: OutgoingMessage, text = large): OutgoingMessage => ({
        ...message,
        body: JSON.stringify({ rocket: message.key, n: 1, text }),
      });
      const textOf = (message: IncomingMessage): string => (message.json() as { text: string }).text;

      it('reach the handlers of every consumer, whole and without a trace of how they came', async () => {
        const seen: IncomingMessage[] = [];
        await control.consume(controlLog, quick, async ({ message }) => void seen.push(message));
        await control.consume(controlScreen, { ...quick, ordered: true }, async ({ message }) => {
          seen.push(message);
        });
        const event = withText(launched('ariane'));
        const first = await pad.publish(event);
        expect(await pad.publish(event)).toEqual({ ...first, duplicate: true });
        await until(() => seen.length === 2);
        for (const message of seen) {
          expect(textOf(message) === large).toBe(true);
          expect(Object.keys(message.headers).filter((name) => name.startsWith('ce-data'))).toEqual([]);
        }
      });

      it('are asked and answered', async () => {
        await pad.serve(launchRpc, { queue: 'pad', maxInFlight: 4 }, async (request) =>
          okReply(request, { text: textOf(request) }),
        );
        const answer = await control.request(withText(launchRequest('ariane')), { timeoutMs: 20_000 });
        expect(answer.envelope.outcome).toBe('ok');
        expect(textOf(answer) === large).toBe(true);
      });

      it('keep the order of their key among small ones', async () => {
        const seen: number[] = [];
        await pad.consume(padCommands, quick, async ({ message }) => void seen.push(textOf(message).length));
        const texts = ['a', large, 'b', large, 'c'];
        for (const text of texts) await control.publish(withText(launch('ariane'), text));
        await until(() => seen.length === texts.length);
        expect(seen).toEqual(texts.map(({ length }) => length));
      });
    });

    describe('dead letters', () => {
      it('gets a message whose handler fails each time, with its history, after telling onDeadLetter', async () => {
        const events: string[] = [];
        const message = launch('ariane', 5);
        await pad.consume(
          padCommands,
          {
            ...quick,
            maxAttempts: 3,
            onDeadLetter: async (delivery, error) => {
              await Promise.resolve();
              const letters = await harness.deadLetters();
              events.push(
                `told ${delivery.message.envelope.id === message.id} ${String(error)} ${letters.length}`,
              );
            },
          },
          async ({ attempt }) => {
            events.push(`attempt ${attempt}`);
            throw new FlotillaError('ENGINE_FAILURE', `engine ${attempt}\nis cold`);
          },
        );
        await control.publish(message);
        const [letter] = await until(async () => {
          const letters = await harness.deadLetters();
          return letters.length > 0 && letters;
        });
        expect(events).toEqual([
          'attempt 1',
          'attempt 2',
          'attempt 3',
          'told true FlotillaError: engine 3\nis cold 0',
        ]);
        expect(letter).toMatchObject({
          subject: 'dlq.pad.pad',
          headers: {
            ...message.headers,
            [deadLetterHeader.errorCode]: 'ENGINE_FAILURE',
            [deadLetterHeader.errorMessage]: 'engine 3 is cold',
            [deadLetterHeader.attempts]: '3',
            [deadLetterHeader.originalSubject]: message.subject,
            [deadLetterHeader.originalStream]: 'CMD_pad',
            [deadLetterHeader.originalSequence]: '1',
          },
        });
        expect(JSON.parse(letter!.headers[deadLetterHeader.history] ?? '')).toMatchObject([
          { attempt: 1, code: 'ENGINE_FAILURE', message: 'engine 1 is cold' },
          { attempt: 2 },
          { attempt: 3 },
        ]);
        expect(Buffer.from(letter!.body).toString()).toBe(message.body);
      });

      it('gets a message at once whose error says that trying again is no use', async () => {
        let attempts = 0;
        await pad.consume(padCommands, quick, async () => {
          attempts++;
          throw new FlotillaError('NO_SUCH_ROCKET', 'there is no such rocket', { retry: 'never' });
        });
        await control.publish(launch('ariane'));
        await until(async () => (await harness.deadLetters()).length === 1);
        expect(attempts).toBe(1);
      });

      it('does not get a message that waits for one which a killed process holds', async () => {
        const gate = new Gate();
        const victim = await harness.connect('control');
        await victim.consume(controlLog, quick, () => gate.pass());
        await pad.publish(launched('ariane'));
        await until(() => gate.waiting === 1);
        let tries = 0;
        let heard = false;
        let done = false;
        let sinceMs: number | undefined;
        await pad.consume(padCommands, { ...quick, maxAttempts: 2 }, async () => {
          tries++;
          sinceMs ??= performance.now();
          if (!heard) throw new FlotillaError('NOT_LAUNCHED_YET', 'no launch is known', { retry: 'not-yet' });
          done = true;
        });
        await control.publish(launch('ariane'));
        await control.consume(controlLog, quick, async () => void (heard = true));
        // More than the ack wait of this topology, and far more than the attempts of a message last.
        await until(() => sinceMs !== undefined && performance.now() - sinceMs > 1_300);
        await victim.close({ drainMs: 0 });
        gate.open();
        await until(() => done);
        expect(tries).toBeGreaterThan(3);
        expect(await harness.deadLetters()).toEqual([]);
      });

      it('gets a message that waits in vain, with its history, and its sender is told', async () => {
        const told: unknown[] = [];
        const tries: number[] = [];
        await pad.consume(
          padCommands,
          { ...quick, maxAttempts: 2, onDeadLetter: (_, error) => void told.push(error) },
          async ({ attempt }) => {
            tries.push(attempt);
            throw new FlotillaError('NOT_LAUNCHED_YET', 'no launch is known', { retry: 'not-yet' });
          },
        );
        await control.publish(launch('ariane'));
        const [letter] = await until(
          async () => {
            const letters = await harness.deadLetters();
            return letters.length > 0 && letters;
          },
          { timeoutMs: 20_000 },
        );
        expect(tries.length).toBeGreaterThan(2);
        expect(new Set(tries)).toEqual(new Set([1]));
        expect(told).toEqual([expect.objectContaining({ code: 'NOT_LAUNCHED_YET' })]);
        expect(letter?.headers).toMatchObject({ [deadLetterHeader.errorCode]: 'NOT_LAUNCHED_YET' });
      });

      it('gets what cannot be read, with the reason', async () => {
        let handled = 0;
        await pad.consume(padCommands, quick, async ({ message }) => {
          message.json();
          handled++;
        });
        await control.publish({
          ...launch('ariane'),
          headers: { 'x-from': 'a program without an envelope' },
        });
        await control.publish({ ...launch('vega'), body: '{"rocket":' });
        await control.publish(launch('soyuz'));
        await until(async () => (await harness.deadLetters()).length === 2 && handled === 1);
        const codes = (await harness.deadLetters()).map(({ headers }) => headers[deadLetterHeader.errorCode]);
        expect(codes.sort()).toEqual(['MALFORMED_ENVELOPE', 'UNDECODABLE_MESSAGE']);
      });

      it('gets a message that ends its process, without running it again, and not what was beside it', async () => {
        const options = { ...quick, maxAttempts: 2 };
        await control.publish(launch('ariane', 1));
        await control.publish(launch('vega', 2));
        for (let ended = 1; ended <= 2; ended++) {
          const gate = new Gate();
          const beside = await harness.connect('pad');
          await beside.consume(padCommands, options, () => gate.pass());
          await until(() => gate.waiting === 2);
          await beside.close({ drainMs: 0 });
          gate.open();
        }
        const gate = new Gate();
        const handled: number[] = [];
        const victim = await harness.connect('pad');
        await victim.consume(padCommands, options, async ({ message }) => {
          const { n } = payloadOf(message);
          if (n === 1) await gate.pass();
          else handled.push(n);
        });
        await until(() => gate.waiting === 1);
        await harness.crash(victim);
        gate.open();
        await pad.consume(padCommands, options, async ({ message }) => {
          handled.push(payloadOf(message).n);
        });
        const letters = await until(async () => {
          const found = await harness.deadLetters();
          return handled.length > 0 && found.length > 0 && found;
        });
        expect(handled).toEqual([2]);
        expect(letters.map(({ headers }) => headers)).toEqual([
          expect.objectContaining({
            [deadLetterHeader.errorCode]: 'DELIVERY_COUNT_EXCEEDED',
            [deadLetterHeader.attempts]: '4',
            [envelopeHeader.subject]: 'ariane',
          }),
        ]);
      });

      it('do not get a message that many processes have had in vain, once it is handled', async () => {
        await control.publish(launch('ariane'));
        for (let ended = 1; ended <= 8; ended++) {
          const gate = new Gate();
          const one = await harness.connect('pad');
          await one.consume(padCommands, quick, () => gate.pass());
          await until(() => gate.waiting === 1);
          await one.close({ drainMs: 0 });
          gate.open();
        }
        const attempts: number[] = [];
        await pad.consume(padCommands, quick, async ({ attempt }) => {
          attempts.push(attempt);
          if (attempts.length < 3) throw new FlotillaError('ENGINE_FAILURE', 'cold');
        });
        await until(() => attempts.length === 3);
        expect(attempts).toEqual([9, 10, 11]);
        expect(await harness.deadLetters()).toEqual([]);
      });

      it('are not written when onDeadLetter fails: the message comes again, and its own error is kept', async () => {
        let told = 0;
        await pad.consume(
          padCommands,
          {
            ...quick,
            maxAttempts: 1,
            onDeadLetter: () => {
              if (++told < 3) throw new Error('the database is away');
            },
          },
          async () => {
            throw new FlotillaError('ENGINE_FAILURE', 'cold');
          },
        );
        await control.publish(launch('ariane'));
        const [letter] = await until(async () => {
          const letters = await harness.deadLetters();
          return letters.length > 0 && letters;
        });
        expect(told).toBe(3);
        expect(letter?.headers[deadLetterHeader.errorCode]).toBe('ENGINE_FAILURE');
      });

      it('replayed for one consumer are no business of the others', async () => {
        const seen: string[] = [];
        await control.consume(
          controlLog,
          quick,
          async ({ message }) => void seen.push(`log ${payloadOf(message).n}`),
        );
        await control.consume(controlScreen, { ...quick, ordered: true }, async ({ message }) => {
          seen.push(`screen ${payloadOf(message).n}`);
        });
        const event = launched('ariane', 1);
        await pad.publish({
          ...event,
          headers: { ...event.headers, [replayHeader.replayFor]: controlLog.name },
        });
        await pad.publish(launched('ariane', 2));
        await until(() => seen.length === 3);
        expect(seen.sort()).toEqual(['log 1', 'log 2', 'screen 2']);
      });
    });

    describe('stopping', () => {
      it('waits for the handlers that run and leaves the rest to others', async () => {
        const gate = new Gate();
        const first: number[] = [];
        const consumption = await pad.consume(
          padCommands,
          { ...quick, maxInFlight: 2 },
          async ({ message }) => {
            await gate.pass();
            first.push(payloadOf(message).n);
          },
        );
        for (let n = 0; n < 6; n++) await control.publish(launch(`rocket-${n}`, n));
        await until(() => gate.waiting === 2);
        const stopped = consumption.stop({ drainMs: 10_000 });
        const second: number[] = [];
        await control.consume(
          padCommands,
          quick,
          async ({ message }) => void second.push(payloadOf(message).n),
        );
        await until(() => second.length === 4);
        gate.open();
        await stopped;
        expect(first.sort()).toEqual([0, 1]);
        expect(second.sort()).toEqual([2, 3, 4, 5]);
      });

      it('gives back what is not done when the time is up', async () => {
        const gate = new Gate();
        const consumption = await pad.consume(padCommands, quick, () => gate.pass());
        await control.publish(launch('ariane'));
        await until(() => gate.waiting === 1);
        await consumption.stop({ drainMs: 20 });
        const attempts: number[] = [];
        await control.consume(padCommands, quick, async ({ attempt }) => void attempts.push(attempt));
        await until(() => attempts.length === 1);
        gate.open();
        expect(attempts).toEqual([2]);
      });
    });

    describe('requests', () => {
      const serveOptions = { queue: 'pad', maxInFlight: 2 };
      const ask = async (headers = {}, timeoutMs = 5_000) =>
        control.request(launchRequest('ariane', headers), { timeoutMs });

      it('are answered', async () => {
        await pad.serve(launchRpc, serveOptions, async (request) => okReply(request, payloadOf(request)));
        const reply = await ask();
        expect(reply.envelope).toMatchObject({ outcome: 'ok', type: 'pad.Launch.v1' });
        expect(reply.json()).toEqual({ rocket: 'ariane', n: 1 });
      });

      it('fail at once when nobody serves them, also after the only server stopped', async () => {
        await expect(ask()).rejects.toMatchObject({ code: 'NO_RESPONDERS' });
        const served = await pad.serve(launchRpc, serveOptions, async (request) => okReply(request, 1));
        await ask();
        await served.stop();
        await expect(ask()).rejects.toMatchObject({ code: 'NO_RESPONDERS' });
      });

      it('fail when the answer takes too long, or the caller gives up', async () => {
        const gate = new Gate();
        await pad.serve(launchRpc, serveOptions, async (request) => {
          await gate.pass();
          return okReply(request, 1);
        });
        await expect(ask({}, 60)).rejects.toMatchObject({ code: 'REQUEST_TIMEOUT', timeoutMs: 60 });
        const stop = new AbortController();
        const asked = control.request(launchRequest('vega'), { timeoutMs: 10_000, signal: stop.signal });
        await until(() => gate.waiting === 2);
        stop.abort(new Error('gone home'));
        await expect(asked).rejects.toMatchObject({ code: 'REQUEST_ABORTED' });
        gate.open();
      });

      it('get a failure of what the handler threw', async () => {
        await pad.serve(launchRpc, serveOptions, async () => {
          throw new FlotillaError('ENGINE_FAILURE', 'cold');
        });
        const reply = await ask();
        expect(reply.envelope.outcome).toBe('failed');
        expect(readFailure(reply.json())).toEqual({
          code: 'ENGINE_FAILURE',
          message: 'cold',
          retry: 'later',
        });
      });

      it('are refused at once when too many run', async () => {
        const gate = new Gate();
        await pad.serve(launchRpc, serveOptions, async (request) => {
          await gate.pass();
          return okReply(request, 1);
        });
        const running = [ask(), ask()];
        await until(() => gate.waiting === 2);
        const third = await ask();
        expect(third.envelope.outcome).toBe('failed');
        expect(readFailure(third.json())).toMatchObject({ code: 'OVERLOADED', retry: 'later' });
        gate.open();
        expect((await Promise.all(running)).map(({ envelope }) => envelope.outcome)).toEqual(['ok', 'ok']);
      });

      it('are taken up to another limit from when it is set', async () => {
        const gate = new Gate();
        const serving = await pad.serve(launchRpc, { queue: 'pad', maxInFlight: 1 }, async (request) => {
          await gate.pass();
          return okReply(request, 1);
        });
        const running = [ask()];
        await until(() => gate.waiting === 1);
        expect(readFailure((await ask()).json())).toMatchObject({ code: 'OVERLOADED' });
        serving.setMaxInFlight(2);
        running.push(ask());
        await until(() => gate.waiting === 2);
        gate.open();
        expect((await Promise.all(running)).map(({ envelope }) => envelope.outcome)).toEqual(['ok', 'ok']);
      });

      it('are not handled after their deadline', async () => {
        let handled = 0;
        await pad.serve(launchRpc, serveOptions, async (request) => {
          handled++;
          return okReply(request, 1);
        });
        const late = await ask({ deadline: Date.now() - 1_000 });
        expect(readFailure(late.json())).toMatchObject({ code: 'DEADLINE_EXCEEDED', retry: 'never' });
        expect((await ask({ deadline: Date.now() + 10_000 })).envelope.outcome).toBe('ok');
        expect(handled).toBe(1);
      });

      it('without an envelope get a failure that says so', async () => {
        await pad.serve(launchRpc, serveOptions, async (request) => okReply(request, 1));
        const bare = { id: newId(), subject: launchRpc, key: 'x', headers: {}, body: '{}' };
        const reply = await control.request(bare, { timeoutMs: 5_000 });
        expect(readFailure(reply.json())).toMatchObject({ code: 'MALFORMED_ENVELOPE' });
      });

      it('are finished before serving stops', async () => {
        const gate = new Gate();
        const served = await pad.serve(launchRpc, serveOptions, async (request) => {
          await gate.pass();
          return okReply(request, 'done');
        });
        const asked = ask();
        await until(() => gate.waiting === 1);
        const stopped = served.stop();
        gate.open();
        await stopped;
        expect((await asked).json()).toBe('done');
      });
    });

    it('lets a watcher see what passes', async () => {
      const seen: string[] = [];
      const watching = await control.watch('evt.pad.>', ({ headers, body }) => {
        seen.push(`${headers[envelopeHeader.type]} ${Buffer.from(body).toString()}`);
      });
      await pad.publish(launched('ariane', 3));
      await until(() => seen.length === 1);
      await watching.stop();
      await pad.publish(launched('ariane', 4));
      expect(seen).toEqual(['pad.Launched.v1 {"rocket":"ariane","n":3}']);
    });

    it('is healthy until it is closed, and says so after that', async () => {
      await pad.announce({
        name: 'pad',
        version: '1.0.0',
        description: 'Launch pad',
        endpoints: [launchRpc],
      });
      expect(pad.health()).toEqual({ connected: true, jetstream: true });
      await pad.close();
      expect(pad.health()).toMatchObject({ connected: false, jetstream: false });
      await expect(pad.publish(launched('ariane'))).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' });
      await expect(pad.request(launchRequest('ariane'), { timeoutMs: 100 })).rejects.toMatchObject({
        code: 'BROKER_UNAVAILABLE',
      });
    });
  });
}
