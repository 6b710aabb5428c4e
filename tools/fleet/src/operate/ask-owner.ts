import { encodeEnvelope, envelopeHeader, readFailure } from '@flotilla/contracts-protocol';
import { FlotillaError, newId } from '@flotilla/kernel';
import { connectNats } from '@flotilla/messaging';
import { errors, headers as natsHeaders } from '@nats-io/nats-core';
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

const ANSWER_WITHIN_MS = 10_000;

/** What an operator asks of a service. */
export interface OperatorRequest {
  /** The last part of the subject: `ops.<service>.<topic>`. */
  readonly topic: string;
  /** What is asked for, in the words of an error. */
  readonly what: string;
  readonly action: string;
  /** What it is about; default: nothing in particular. */
  readonly key?: string;
  readonly body: object;
}

/** Has the service that runs a saga do something with it, in a unit of work of its own; returns its answer. */
export function askOwner(access: NatsAccess, service: string, order: SagaOrder): Promise<unknown> {
  const { action, saga, id } = order;
  const what = `${action} of saga ${saga} of ${id}`;
  return askService(access, service, { topic: 'saga', what, action, key: id, body: order });
}

/** Asks a service as an operator; returns its answer. Throws {@link OperationFailedError}. */
export async function askService(
  access: NatsAccess,
  service: string,
  { topic, what, action, key, body: order }: OperatorRequest,
): Promise<unknown> {
  const connection = await connectNats({ ...access, name: `fleet ${topic}` });
  try {
    const id = newId();
    const headers = natsHeaders();
    const envelope = encodeEnvelope({
      id,
      type: `ops.${topic}.${action}`,
      source: 'fleet',
      time: new Date().toISOString(),
      subject: key ?? id,
      correlationId: id,
    });
    for (const [name, value] of Object.entries(envelope)) headers.set(name, value);
    const reply = await connection.request(`ops.${service}.${topic}`, JSON.stringify(order), {
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
    if (error instanceof errors.NoRespondersError) {
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
  } finally {
    await connection.close();
  }
}
