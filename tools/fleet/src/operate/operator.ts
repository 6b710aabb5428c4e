import { connectNats } from '@flotilla/messaging';
import { contractsByType } from '../contracts/fleet-contracts.ts';
import { discoverServices, type Service } from '../services.ts';
import type { NatsAccess } from '../stack/nats-access.ts';
import { OperatorApi } from './operator-api.ts';
import { OperatorHttp, type OperatorHttpOptions } from './operator-http.ts';

/** What carries out the acts of operators for other programs. */
export interface RunningOperator {
  /** Where it listens for HTTP, if it does. */
  readonly url: string | undefined;
  /** Resolves when the connection to the broker has ended for good. */
  readonly ended: Promise<unknown>;
  stop(): Promise<void>;
}

/** Answers on NATS as an operator, and over HTTP where `http` says so. When that fails, nothing is left open. */
export async function startOperator(
  access: NatsAccess,
  {
    services,
    http,
  }: { readonly services?: readonly Service[]; readonly http?: Omit<OperatorHttpOptions, 'act'> },
): Promise<RunningOperator> {
  const connection = await connectNats({ ...access, name: 'fleet operator' });
  const contracts = Promise.resolve(services ?? discoverServices()).then(contractsByType);
  const api = new OperatorApi(connection, () => contracts);
  const server = http && new OperatorHttp({ ...http, act: (request) => api.act(request) });
  const stop = async (): Promise<void> => {
    await server?.stop();
    await api.stop();
    await connection.close();
  };
  try {
    await api.start();
    await server?.start();
  } catch (error) {
    await stop();
    throw error;
  }
  return { url: server?.url, ended: connection.closed(), stop };
}
