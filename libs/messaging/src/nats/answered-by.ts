import { NoRespondersError, RequestError } from '@nats-io/nats-core';
import { MissingTopologyError } from '../messaging.errors.ts';
import { isNotFound } from './pull-loop.ts';

/** What a stream answers. Nobody answers for one that is not there: throws `MissingTopologyError`, which says what to do. */
export async function answeredBy<T>(stream: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask();
  } catch (error) {
    const nobody =
      error instanceof NoRespondersError ||
      (error instanceof RequestError && error.isNoResponders()) ||
      // As the client names a publication that no stream takes.
      (error instanceof Error && error.name === 'JetStreamNotEnabled');
    if (nobody || isNotFound(error)) throw new MissingTopologyError([`stream ${stream}`]);
    throw error;
  }
}
