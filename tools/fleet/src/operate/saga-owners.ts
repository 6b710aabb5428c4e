import { PostgresSagaStore, type SagaFilter, type SagaInstance, type SagaStore } from '@flotilla/saga';
import { FlotillaError } from '@flotilla/kernel';
import { Client } from 'pg';
import { discoverServices, type Service } from '../services.ts';
import type { DataDir } from '../stack/data-dir.ts';
import { findDatabases } from '../stack/migrations.ts';

/** The sagas of one service, read from its database. */
export interface SagaOwner {
  readonly service: string;
  readonly store: SagaStore;
  /** Reads from its database. */
  readonly query?: <R>(sql: string, params?: unknown[]) => Promise<R[]>;
}

/** A saga and the service that runs it. */
export interface OwnedSaga {
  readonly service: string;
  readonly instance: SagaInstance;
}

/** Thrown when no service has a saga of that id. Code `SAGA_NOT_FOUND`. */
export class SagaNotFoundError extends FlotillaError {
  constructor(id: string, saga: string | undefined) {
    super(
      'SAGA_NOT_FOUND',
      `There is no saga ${saga === undefined ? '' : `${saga} `}of ${id}. "fleet saga list --status all" shows the latest.`,
      { retry: 'never' },
    );
  }
}

/** Opens the databases of all services that run sagas (those whose manifest sends commands), for reading. */
export async function withSagaOwners<T>(
  dir: DataDir,
  work: (owners: readonly SagaOwner[]) => Promise<T>,
): Promise<T> {
  const services = (await discoverServices()).filter(({ manifest }) => manifest.sends.length > 0);
  const databases = await findDatabases(services, dir);
  const clients: Client[] = [];
  try {
    const owners = await Promise.all(
      services.map(async ({ name }: Service) => {
        const client = new Client({
          connectionString: databases[name],
          application_name: 'fleet saga',
          connectionTimeoutMillis: 10_000,
        });
        await client.connect();
        clients.push(client);
        const query = async <R>(sql: string, params?: unknown[]): Promise<R[]> =>
          (await client.query(sql, params)).rows as R[];
        return { service: name, store: new PostgresSagaStore({ query }), query };
      }),
    );
    return await work(owners);
  } finally {
    await Promise.all(clients.map((client) => client.end()));
  }
}

/** The sagas of all owners in one row, the latest ids first, at most `limit` of the filter. */
export async function listSagas(owners: readonly SagaOwner[], filter: SagaFilter): Promise<OwnedSaga[]> {
  const lists = await Promise.all(
    owners.map(async ({ service, store }) =>
      (await store.list(filter)).map((instance): OwnedSaga => ({ service, instance })),
    ),
  );
  // As the stores order them, so that a page's last one tells where the next begins.
  const descending = (a: string, b: string): number => (a === b ? 0 : a < b ? 1 : -1);
  return lists
    .flat()
    .sort(({ instance: a }, { instance: b }) => descending(a.id, b.id) || descending(a.saga, b.saga))
    .slice(0, filter.limit);
}

/** The saga of a business object: looked for at every owner, and under every name unless one is given. */
export async function findSaga(
  owners: readonly SagaOwner[],
  id: string,
  saga: string | undefined,
): Promise<OwnedSaga & { readonly owner: SagaOwner }> {
  for (const owner of owners) {
    for (const name of saga === undefined ? await sagaNames(owner) : [saga]) {
      const instance = await owner.store.load({ saga: name, id });
      if (instance !== undefined) return { service: owner.service, instance, owner };
    }
  }
  throw new SagaNotFoundError(id, saga);
}

/** The names of the sagas that a service has instances of. */
async function sagaNames({ store }: SagaOwner): Promise<string[]> {
  const latest = await store.list({ limit: 200 });
  const open = await store.countOpen();
  return [...new Set([...latest, ...open].map(({ saga }) => saga))];
}
