import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { ServiceManifest } from '@flotilla/contracts-protocol';
import { serviceSpecOf, type ChassisConfig, type ConfigClass, type ServiceSpec } from '@flotilla/service';
import type { Type } from '@nestjs/common';
import { workspaceRoot } from '../workspace.ts';

type AnyConfigClass = ConfigClass<unknown> & (new (values: never) => ChassisConfig);

/** A service of the fleet as the simulation runs it. */
export interface SimulatedService {
  readonly name: string;
  readonly module: Type<unknown>;
  readonly config: AnyConfigClass;
  readonly spec: ServiceSpec;
  readonly manifest: ServiceManifest;
}

/** The services of the two sagas, in the order in which they start. */
export const serviceNames = ['inventory', 'payments', 'shipping', 'orders'] as const;

/** Loads the services' own modules. */
export async function loadServices(): Promise<SimulatedService[]> {
  return Promise.all(
    serviceNames.map(async (name) => {
      const module = await exported<Type<unknown>>(name, `${name}.module.ts`, 'Module');
      const config = await exported<AnyConfigClass>(name, `${name}.config.ts`, 'Config');
      const spec = serviceSpecOf(module);
      return { name, module, config, spec, manifest: spec.manifest };
    }),
  );
}

/** Something else that a service's folder exports, for what the simulation replaces. */
export async function exported<T>(service: string, file: string, name: string): Promise<T> {
  const path = join(workspaceRoot, 'apps', service, 'src', file);
  const all = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  const found = Object.entries(all).find(([each]) => each === name || each.endsWith(name));
  if (found === undefined) throw new Error(`${path} exports nothing that is called ${name}`);
  return found[1] as T;
}

/** A file of a library that its package does not export, for what the simulation replaces in it. */
export async function libraryFile<T>(library: string, file: string): Promise<T> {
  return (await import(pathToFileURL(join(workspaceRoot, 'libs', library, 'src', file)).href)) as T;
}
