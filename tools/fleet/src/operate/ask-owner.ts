import { encodeEnvelope, envelopeHeader, readFailure } from '@flotilla/contracts-protocol';
import { FlotillaError, newId } from '@flotilla/kernel';
import { connectNats } from '@flotilla/messaging';
import { errors, headers as natsHeaders, type NatsConnection } from '@nats-io/nats-core';
import type { NatsAccess } from '../stack/nats-access.ts';

export interface SagaOrder {
  readonly action: 'retry' | 'abort';
  readonly saga: string;
  readonly id: string;
  readonly reason?: string;
}

/** Thrown when the service refuses what an operator asks, or does not answer. Code `OPERATION_FAILED`. */
export class OperationFailedError extends FlotillaError {
  constructor(service: string, what: string, reason: string, options: { readonly cause?: unknown } = {}) {
    super('OPERATION_FAILED', `${what}: the service ${service} ${reason}`, { retry: 'never', ...options });
  }
}

/** Has the service that runs a saga do something with it, in a unit of work of its own; returns its answer. */
export type AskOwner = (service: string, order: SagaOrder) => Promise<unknown>;

const ANSWER_WITHIN_MS = 10_000;

/** What a service is asked to do, on the subject where it takes operators' commands. */
export interface OperatorRequest {
  readonly subject: string;
  readonly type: string;
  /** The id of what it is about. */
  readonly about: string;
  /** For errors. */
  readonly what: string;
  readonly body: object;
}

/** Gives `work` a connection over which the owners of sagas can be asked. */
export async function withOperator<T>(access: NatsAccess, work: (ask: AskOwner) => Promise<T>): Promise<T> {
  return connected(access, (connection) =>
    work((service, order) =>
      askOver(connection, service, {
        subject: `ops.${service}.saga`,
        type: `ops.saga.${order.action}`,
        about: order.id,
        what: `${order.action} of saga ${order.saga} of ${order.id}`,
        body: order,
      }),
    ),
  );
}

/** Asks a service as the operator; returns its answer. Throws {@link OperationFailedError}. */
export function askService(access: NatsAccess, service: string, request: OperatorRequest): Promise<unknown> {
  return connected(access, (connection) => askOver(connection, service, request));
}

async function connected<T>(
  access: NatsAccess,
  work: (connection: NatsConnection) => Promise<T>,
): Promise<T> {
  const connection = await connectNats({ ...access, name: 'fleet operator' });
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}

/** As {@link askService}, over a connection that is there. */
export async function askOver(
  connection: NatsConnection,
  service: string,
  { subject, type, about, what, body: order }: OperatorRequest,
): Promise<unknown> {
  try {
    const headers = headersOf(type, about);
    const reply = await connection.request(subject, JSON.stringify(order), {
      headers,
      timeout: ANSWER_WITHIN_MS,
    });
    const body: unknown = reply.json();
    if (reply.headers?.get(envelopeHeader.outcome) !== 'ok') {
      const { code, message } = readFailure(body);
      throw new OperationFailedError(service, what, `refused: ${code} ${message}`);
    }
    return body;
  } catch (error) {
    if (error instanceof errors.RequestError && error.isNoResponders()) {
      throw new OperationFailedError(service, what, 'does not run: start it, then try again', {
        cause: error,
      });
    }
    if (error instanceof errors.TimeoutError) {
      throw new OperationFailedError(service, what, `did not answer within ${ANSWER_WITHIN_MS / 1_000} s`, {
        cause: error,
      });
    }
    throw error;
  }
}

/** How long it is waited for one more process to answer. */
const NEXT_ANSWER_MS = 400;
const ALL_ANSWERS_MS = 3_000;

/** Asks all processes of a service, each of which answers for itself; none for a service that does not run. */
export async function askEach(
  connection: NatsConnection,
  { subject, type, about, body }: Omit<OperatorRequest, 'what'>,
): Promise<unknown[]> {
  const answers: unknown[] = [];
  try {
    const replies = await connection.requestMany(subject, JSON.stringify(body), {
      headers: headersOf(type, about),
      strategy: 'stall',
      stall: NEXT_ANSWER_MS,
      maxWait: ALL_ANSWERS_MS,
    });
    for await (const reply of replies) {
      if (reply.headers?.code === 503) break;
      if (reply.headers?.get(envelopeHeader.outcome) === 'ok') answers.push(reply.json());
    }
  } catch (error) {
    if (!isNobody(error)) throw error;
  }
  return answers;
}

function isNobody(error: unknown): boolean {
  return (
    error instanceof errors.NoRespondersError ||
    (error instanceof errors.RequestError && error.isNoResponders())
  );
}

function headersOf(type: string, about: string): ReturnType<typeof natsHeaders> {
  const id = newId();
  const headers = natsHeaders();
  const envelope = encodeEnvelope({
    id,
    type,
    source: 'fleet',
    time: new Date().toISOString(),
    subject: about,
    correlationId: id,
  });
  for (const [name, value] of Object.entries(envelope)) headers.set(name, value);
  return headers;
}
