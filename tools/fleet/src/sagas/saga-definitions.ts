import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { errorMessage, FlotillaError } from '@flotilla/kernel';
import type { SagaDefinition } from '@flotilla/saga';
import { workspaceRoot } from '../workspace.ts';

/** A saga as some service declares it; nothing here runs it. */
export type DeclaredSaga = SagaDefinition<unknown, unknown>;

/** Thrown when a saga's file cannot be read as a declaration. Code `SAGA_NOT_LOADABLE`. */
export class SagaNotLoadableError extends FlotillaError {
  constructor(file: string, reason: string, options: { readonly cause?: unknown } = {}) {
    super(
      'SAGA_NOT_LOADABLE',
      `${file} ${reason}. A *.saga.ts exports definitions, or functions called <name>Saga that make one without arguments (give their settings defaults), and imports nothing that needs Nest`,
      { retry: 'never', ...options },
    );
  }
}

/** The sagas that the services declare, in `apps/<service>/src/application/sagas/*.saga.ts`, by name and version. */
export async function declaredSagas(root: string = workspaceRoot): Promise<DeclaredSaga[]> {
  const apps = join(root, 'apps');
  const files = readdirSync(apps)
    .map((app) => join(apps, app, 'src/application/sagas'))
    .filter((folder) => existsSync(folder))
    .flatMap((folder) => readdirSync(folder).map((file) => join(folder, file)))
    .filter((file) => file.endsWith('.saga.ts'));
  const sagas = (await Promise.all(files.map(sagasIn))).flat();
  return sagas.sort((a, b) => (a.name === b.name ? a.version - b.version : a.name < b.name ? -1 : 1));
}

async function sagasIn(file: string): Promise<DeclaredSaga[]> {
  let exported: Record<string, unknown>;
  try {
    exported = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  } catch (error) {
    throw new SagaNotLoadableError(file, `cannot be loaded: ${errorMessage(error)}`, { cause: error });
  }
  const sagas = Object.entries(exported).flatMap(([name, value]) => {
    if (isSaga(value)) return [value];
    if (typeof value !== 'function' || !name.endsWith('Saga')) return [];
    return [made(file, name, value as () => unknown)];
  });
  if (sagas.length === 0) throw new SagaNotLoadableError(file, 'exports no saga');
  return sagas;
}

function made(file: string, name: string, make: () => unknown): DeclaredSaga {
  if (make.length > 0) throw new SagaNotLoadableError(file, `: ${name} cannot be called without arguments`);
  const saga = make();
  if (!isSaga(saga)) throw new SagaNotLoadableError(file, `: ${name} does not return a saga`);
  return saga;
}

function isSaga(value: unknown): value is DeclaredSaga {
  return typeof value === 'object' && value !== null && 'nodes' in value && 'cancellableUntil' in value;
}
