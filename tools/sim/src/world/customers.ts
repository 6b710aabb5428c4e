import { BusinessError, contractOf, readFailure, type AnyMessage } from '@flotilla/contracts-protocol';
import { CancelOrder, DecideReview, PlaceOrder, RequestReturn } from '@flotilla/contracts-orders';
import { newId } from '@flotilla/kernel';
import type { Broker } from '@flotilla/messaging';
import { withMessageId } from '@flotilla/service';
import type { OutgoingMessages } from '@flotilla/service/testing';
import type { Simulation } from '@flotilla/testing/simulation';
import type { PlannedOrder, PlannedReturn, Scenario } from '../scenario.ts';
import { jsonOf, textOf, type ReadRows } from './rows.ts';

/** What a command was answered in the end. */
export interface FinalAnswer {
  readonly outcome: 'ok' | 'refused' | 'failed';
  readonly code?: string;
}

export interface CustomersParts {
  readonly scenario: Scenario;
  readonly simulation: Simulation;
  readonly broker: Broker;
  readonly outgoing: OutgoingMessages;
  /** Customers see how far their order is, as tracking would show them. */
  readonly rows: ReadRows;
}

const TIMEOUT_MS = 4_000;
const LOOK_EVERY_MS = 400;
/** A failure that is said to be final is asked about again so often: a person would call. */
const MOST_FAILURES = 3;

const ended: ReadonlySet<string> = new Set(['completed', 'rejected', 'cancelled']);

/** Everybody outside of the fleet who wants something of it: each repeats a command, under one id, until it is answered. */
export class Customers {
  readonly placed: string[] = [];
  readonly returned: string[] = [];
  /** Orders whose cancellation was taken. */
  readonly cancelled: string[] = [];
  /** Answers that tell of a fault of the fleet's own. */
  readonly complaints: string[] = [];
  readonly #parts: CustomersParts;
  #busy = 0;

  constructor(parts: CustomersParts) {
    this.#parts = parts;
  }

  /** Whether everybody has what they wanted, or was refused it. */
  get content(): boolean {
    return this.#busy === 0;
  }

  start(): void {
    for (const order of this.#parts.scenario.orders) {
      this.#act(() => this.#order(order));
      for (const atMs of order.cancelAtMs) this.#act(() => this.#cancel(order, atMs));
    }
  }

  #act(action: () => Promise<void>): void {
    this.#busy++;
    void action().then(
      () => void this.#busy--,
      (error: unknown) => {
        this.#busy--;
        this.complaints.push(`a customer gave up: ${String(error)}`);
      },
    );
  }

  async #order(order: PlannedOrder): Promise<void> {
    const { orderId, customerId, lines, paymentToken, recipient: name, placeAtMs } = order;
    await this.#wait(placeAtMs);
    const shipTo = { name, line1: 'Street 1', city: 'London', postalCode: 'N1', country: 'GB' };
    const answer = await this.#ask(
      new PlaceOrder({ orderId, customerId, lines: [...lines], paymentToken, shipTo, currency: 'GBP' }),
    );
    if (answer.outcome !== 'ok') {
      this.complaints.push(`order ${orderId} was not placed: ${answer.outcome} ${answer.code}`);
      return;
    }
    this.placed.push(orderId);
    for (;;) {
      const status = this.#statusOf(orderId);
      if (status === undefined) {
        this.complaints.push(`order ${orderId} was placed, and is not there`);
        return;
      }
      if (status === 'awaiting_review' && order.decision !== 'none')
        await this.#review(order, order.decision);
      if (ended.has(status)) break;
      await this.#wait(LOOK_EVERY_MS);
    }
    if (this.#statusOf(orderId) === 'completed')
      for (const each of order.returns) this.#act(() => this.#return(order, each));
  }

  async #review({ orderId }: PlannedOrder, decision: 'approve' | 'reject'): Promise<void> {
    const answer = await this.#ask(new DecideReview({ orderId, decision, reviewer: 'simulated' }));
    if (answer.outcome === 'failed') this.complaints.push(`the review of ${orderId} failed: ${answer.code}`);
  }

  async #cancel({ orderId }: PlannedOrder, atMs: number): Promise<void> {
    await this.#wait(atMs);
    const answer = await this.#ask(new CancelOrder({ orderId, reason: 'changed my mind' }));
    if (answer.outcome === 'ok') this.cancelled.push(orderId);
    if (answer.outcome === 'failed')
      this.complaints.push(`the cancellation of ${orderId} failed: ${answer.code}`);
  }

  async #return(
    { orderId, lines }: PlannedOrder,
    { returnId, share, damaged }: PlannedReturn,
  ): Promise<void> {
    const back = new Map<string, number>();
    for (const { sku, quantity } of lines) back.set(sku, (back.get(sku) ?? 0) + quantity);
    const answer = await this.#ask(
      new RequestReturn({
        orderId,
        returnId,
        lines: [...back].map(([sku, quantity]) => ({
          sku,
          quantity: Math.max(1, Math.round(quantity * share)),
          damaged,
        })),
      }),
    );
    if (answer.outcome === 'ok') this.returned.push(returnId);
    if (answer.outcome === 'failed') this.complaints.push(`return ${returnId} failed: ${answer.code}`);
  }

  /** Asks until there is an answer. */
  async #ask(message: AnyMessage): Promise<FinalAnswer> {
    const { broker, outgoing, simulation } = this.#parts;
    const { clock } = simulation;
    withMessageId(message, newId());
    let failures = 0;
    for (;;) {
      let answer: FinalAnswer & { readonly final: boolean };
      try {
        const request = outgoing.request(message, clock.now() + TIMEOUT_MS);
        const reply = await broker.request(request, { timeoutMs: TIMEOUT_MS });
        const outcome = reply.envelope.outcome ?? 'ok';
        const failure = outcome === 'ok' ? undefined : readFailure(reply.json());
        answer = {
          outcome,
          ...(failure && { code: `${failure.code}: ${failure.message}` }),
          final: outcome !== 'failed' || (failure?.retry === 'never' && ++failures >= MOST_FAILURES),
        };
      } catch (error) {
        if (error instanceof BusinessError) throw error;
        answer = { outcome: 'failed', code: String(error), final: false };
      }
      const { final, ...given } = answer;
      if (final) {
        simulation.tell(`${contractOf(message).name}: ${given.outcome} ${given.code ?? ''}`);
        return given;
      }
      await this.#wait(200 + simulation.latencies.int(0, 600));
    }
  }

  #statusOf(orderId: string): string | undefined {
    const rows = this.#parts.rows('orders', 'orders', ['order_id', 'status']);
    const row = rows.find((each) => each['order_id'] === orderId);
    return row && textOf(row['status']);
  }

  #wait(ms: number): Promise<void> {
    return this.#parts.simulation.clock.sleep(ms);
  }
}

export interface OperatorParts extends Omit<CustomersParts, 'scenario'> {
  /** The sequences of the dead letters there are. */
  readonly deadLetters: () => readonly number[];
  readonly replay: (sequence: number) => void;
}

/** What an operator does about what waits for a person: tries again, gives up what is hopeless, replays dead letters. */
export class Operator {
  readonly #parts: OperatorParts;
  readonly #tries = new Map<string, number>();

  constructor(parts: OperatorParts) {
    this.#parts = parts;
  }

  /** Looks every few seconds; never ends. */
  async work(): Promise<void> {
    const { simulation, rows } = this.#parts;
    for (;;) {
      await simulation.clock.sleep(2_000);
      for (const sequence of this.#parts.deadLetters()) {
        simulation.tell(`replays dead letter ${sequence}`);
        this.#parts.replay(sequence);
      }
      for (const row of rows('orders', 'saga_instances', ['saga', 'id', 'status', 'progress'])) {
        if (row['status'] !== 'parked') continue;
        const { parked } = jsonOf<{ parked?: { code: string } }>(row['progress']);
        await this.#unpark(textOf(row['saga']), textOf(row['id']), parked?.code ?? '');
      }
    }
  }

  async #unpark(saga: string, id: string, code: string): Promise<void> {
    const { broker, outgoing, simulation } = this.#parts;
    const tries = (this.#tries.get(`${saga} ${id}`) ?? 0) + 1;
    this.#tries.set(`${saga} ${id}`, tries);
    const action = code === 'parcel_lost' || tries > 4 ? 'abort' : 'retry';
    simulation.tell(`${action} of ${saga} ${id}, parked for ${code}`);
    const messageId = newId();
    const headers = outgoing.request(
      new CancelOrder({ orderId: id }),
      simulation.clock.now() + TIMEOUT_MS,
    ).headers;
    try {
      await broker.request(
        {
          id: messageId,
          subject: 'ops.orders.saga',
          key: id,
          headers: { ...headers, 'ce-id': messageId, 'ce-type': 'ops.orders.saga' },
          body: JSON.stringify({ action, saga, id, reason: 'simulated operator' }),
        },
        { timeoutMs: TIMEOUT_MS },
      );
    } catch (error) {
      simulation.tell(`it was not carried out: ${String(error)}`);
    }
  }
}
