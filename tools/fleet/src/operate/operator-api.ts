import { encodeEnvelope, envelopeHeader, failureBody, type Contract } from '@flotilla/contracts-protocol';
import { errorCode, errorMessage, FlotillaError, newId } from '@flotilla/kernel';
import { headers as natsHeaders, type Msg, type NatsConnection, type Subscription } from '@nats-io/nats-core';
import { z } from 'zod';
import { DeadLetterDesk } from './dead-letter-desk.ts';
import { letterFacts } from './dead-letter-pages.ts';
import { maskSecrets } from './mask-secrets.ts';

/** Where the acts of operators are asked for by other programs: only operators' NATS users may publish there. */
export const OPERATOR_API_SUBJECT = 'ops.fleet.dead-letters';

const number = z.number().int().positive();
const which = { service: z.string().min(1).optional(), group: z.string().min(1).optional() };
const reason = z.string().min(1).max(500);
const limit = z.number().int().min(1).max(500);
const change = z.object({
  path: z.array(z.union([z.string(), z.number().int().nonnegative()])).min(1),
  value: z.unknown(),
});

/** What can be asked, by `act`. `by` is the person: whoever asks has made sure who that is. */
export const operatorRequest = z
  .discriminatedUnion('act', [
    z.object({ act: z.literal('groups'), service: which.service }),
    z.object({ act: z.literal('list'), ...which, after: number.optional(), limit: limit.default(50) }),
    z.object({ act: z.literal('show'), letter: number }),
    z.object({
      act: z.literal('edit'),
      letter: number,
      body: z.string().optional(),
      changes: z.array(change).min(1).optional(),
      force: z.boolean().default(false),
    }),
    z.object({ act: z.literal('dry-run'), letter: number }),
    z.object({ act: z.literal('replay'), letter: number, reason: reason.optional() }),
    z.object({
      act: z.literal('replay-many'),
      ...which,
      all: z.literal(true).optional(),
      upTo: number.optional(),
      limit: limit.default(200),
      perSecond: z.number().int().min(1).max(1_000).default(50),
      reason: reason.optional(),
    }),
    z.object({ act: z.literal('drop'), letter: number, reason }),
    z.object({ act: z.literal('drop-many'), group: z.string().min(1), limit: limit.default(200), reason }),
    z.object({
      act: z.literal('history'),
      action: z.string().optional(),
      target: z.string().optional(),
      who: z.string().optional(),
      limit: limit.default(50),
    }),
  ])
  .and(z.object({ by: z.string().min(1).max(100) }));

export type OperatorApiRequest = z.input<typeof operatorRequest>;

/** Thrown when a request to the operators' API is not one. Code `INVALID_OPERATOR_REQUEST`. */
export class InvalidOperatorRequestError extends FlotillaError {
  constructor(problems: readonly string[]) {
    super('INVALID_OPERATOR_REQUEST', `The request is not valid: ${problems.join('; ')}`, { retry: 'never' });
  }
}

/** What became of a request: the act's own answer, or `{ code, message }`. */
export interface OperatorAnswer {
  readonly outcome: 'ok' | 'failed';
  readonly body: unknown;
}

/** How many requests are worked on at a time; one more is answered `OVERLOADED`. */
const AT_A_TIME = 8;

/**
 * Answers requests for acts on dead letters, each recorded under the name that it gives. Several may run: they share the
 * work. Answers are JSON, secrets maskSecrets; a failure is `{ code, message }` with the header `ce-outcome: failed`.
 */
export class OperatorApi {
  readonly #connection: NatsConnection;
  readonly #contracts: () => Promise<ReadonlyMap<string, Contract>>;
  readonly #running = new Set<Promise<OperatorAnswer>>();
  #subscription: Subscription | undefined;
  #failure: Error | undefined;

  constructor(connection: NatsConnection, contracts: () => Promise<ReadonlyMap<string, Contract>>) {
    this.#connection = connection;
    this.#contracts = contracts;
  }

  async start(): Promise<void> {
    this.#subscription = this.#connection.subscribe(OPERATOR_API_SUBJECT, {
      queue: 'fleet-operator',
      callback: (error, message) => {
        if (error !== null) return this.#fail(error);
        void this.#answer(message);
      },
    });
    await this.#connection.flush();
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Takes no more, and ends what runs. */
  async stop(): Promise<void> {
    this.#subscription?.unsubscribe();
    await Promise.all(this.#running);
  }

  /** Carries out one request as parsed from JSON, whichever way it came. Never rejects. */
  async act(asked: unknown): Promise<OperatorAnswer> {
    if (this.#running.size >= AT_A_TIME)
      return failure(new FlotillaError('OVERLOADED', `${AT_A_TIME} requests are worked on: try again later`));
    const work = this.#tryAct(asked).finally(() => this.#running.delete(work));
    this.#running.add(work);
    return work;
  }

  async #tryAct(asked: unknown): Promise<OperatorAnswer> {
    try {
      return { outcome: 'ok', body: await this.#carryOut(readRequest(asked)) };
    } catch (error) {
      return failure(error);
    }
  }

  /** The user may not answer there: told at the start, and no request ever comes. */
  #fail(error: Error): void {
    this.#failure = error;
  }

  async #answer(message: Msg): Promise<void> {
    const { outcome, body } = await this.act(parsed(message));
    const headers = natsHeaders();
    const id = newId();
    const asked = message.headers?.get(envelopeHeader.id);
    const envelope = encodeEnvelope({
      id,
      type: 'ops.dead-letters',
      source: 'fleet',
      time: new Date().toISOString(),
      subject: 'dead-letters',
      correlationId: asked === undefined || asked === '' ? id : asked,
      outcome,
    });
    for (const [name, value] of Object.entries(envelope)) headers.set(name, value);
    message.respond(JSON.stringify(body), { headers });
  }

  async #carryOut(request: z.output<typeof operatorRequest>): Promise<unknown> {
    const desk = new DeadLetterDesk(this.#connection, { by: request.by, via: 'api' }, this.#contracts);
    switch (request.act) {
      case 'groups':
        return desk.groups(given({ service: request.service }));
      case 'list': {
        const { service, group, after } = request;
        const { letters, total } = await desk.list({
          limit: request.limit,
          ...given({ service, group, after }),
        });
        return { total, letters: letters.map(letterFacts) };
      }
      case 'show':
        return letterFacts(await desk.show(request.letter));
      case 'edit': {
        const { letter, body, changes, force } = request;
        if ((body === undefined) === (changes === undefined))
          throw new InvalidOperatorRequestError(['give either body or changes']);
        return letterFacts(await desk.edit(letter, changes ? { changes } : { body: body ?? '' }, force));
      }
      case 'dry-run':
        return maskSecrets(await desk.dryRun(request.letter));
      case 'replay':
        return desk.replay(request.letter, request.reason);
      case 'replay-many': {
        const { service, group, upTo, all, reason: why } = request;
        if (service === undefined && group === undefined && all !== true)
          throw new InvalidOperatorRequestError(['say which: group, service, or all']);
        return desk.replayMany({
          limit: request.limit,
          perSecond: request.perSecond,
          ...given({ service, group, upTo, reason: why }),
        });
      }
      case 'drop':
        return letterFacts(await desk.drop(request.letter, request.reason));
      case 'drop-many':
        return { dropped: await desk.dropMany({ group: request.group }, request.reason, request.limit) };
      case 'history': {
        const { action, target, who: by, limit: most } = request;
        return (await desk.history({ limit: most, ...given({ action, target, by }) })).map(maskSecrets);
      }
    }
  }
}

/** What a message asks; undefined when it is no JSON. */
function parsed(message: Msg): unknown {
  try {
    return message.json();
  } catch {
    return undefined;
  }
}

function failure(error: unknown): OperatorAnswer {
  return { outcome: 'failed', body: failureBody({ code: errorCode(error), message: errorMessage(error) }) };
}

function readRequest(asked: unknown): z.output<typeof operatorRequest> {
  if (asked === undefined) throw new InvalidOperatorRequestError(['it is no JSON']);
  const result = operatorRequest.safeParse(asked);
  if (result.success) return result.data;
  throw new InvalidOperatorRequestError(
    result.error.issues.map(({ path, message: problem }) => `${path.join('.') || 'it'}: ${problem}`),
  );
}

/** Without what is undefined. */
function given<T extends object>(all: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: NonNullable<T[K]>;
  };
}
