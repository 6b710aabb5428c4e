import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { FlotillaError } from '@flotilla/kernel';
import { describeSettings, type SettingDescription, type Settings } from '@flotilla/service/config';
import { InvalidServiceError, UnknownServiceError } from '../fleet.errors.ts';
import type { Service } from '../services.ts';

/** The settings that a service declares in `src/<name>.config.ts`: the same schemas that it starts with. */
export interface ServiceConfig {
  readonly service: string;
  readonly settings: Settings;
  /** Those that change without a restart. */
  readonly dynamic: readonly SettingDescription[];
}

/** Thrown when a value is not one that the setting may have. Code `INVALID_SETTING`. */
export class InvalidSettingError extends FlotillaError {
  constructor(service: string, key: string, problem: string) {
    super('INVALID_SETTING', `${service} ${key}: ${problem}. Nothing was changed.`, { retry: 'never' });
  }
}

/** Loads the configuration of a service. Throws {@link UnknownServiceError} or {@link InvalidServiceError}. */
export async function configOf(services: readonly Service[], name: string): Promise<ServiceConfig> {
  const service = services.find((each) => each.name === name);
  if (!service)
    throw new UnknownServiceError(
      [name],
      services.map((each) => each.name),
    );
  const file = join(service.folder, `src/${name}.config.ts`);
  if (!existsSync(file)) throw new InvalidServiceError(file, 'is not there, so its settings are not known');
  const exported = (await import(pathToFileURL(file).href)) as Record<string, unknown>;
  const config = Object.values(exported).find(isConfigClass);
  if (!config) throw new InvalidServiceError(file, 'exports no configuration made by defineConfig');
  return {
    service: name,
    settings: config.settings,
    dynamic: describeSettings(config).filter(({ dynamic }) => dynamic),
  };
}

function isConfigClass(value: unknown): value is { readonly settings: Settings } {
  return typeof value === 'function' && 'settings' in value && 'fromEnvironment' in value;
}
