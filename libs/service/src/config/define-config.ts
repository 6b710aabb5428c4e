import { readFileSync } from 'node:fs';
import { errorMessage } from '@flotilla/kernel';
import type { z } from 'zod';
import { chassisSettings, type ChassisConfig } from './chassis-settings.ts';
import { bindValues } from './dynamic-values.ts';
import { InvalidConfigError } from './invalid-config.error.ts';

/** One setting of a service: where it comes from, what it may be, what it means. */
export interface Setting<S extends z.ZodType> {
  /** The environment variable. With the suffix `_FILE`, the value is read from the file that it names. */
  readonly env: string;
  /** Parses the variable's text (use `z.coerce` for numbers). */
  readonly schema: S;
  /** The value without the variable; without a default the variable must be set. */
  readonly default?: z.output<S>;
  /** Meaning, unit, and what changing it costs. */
  readonly doc: string;
  /** Never shown in logs or error messages. */
  readonly secret?: boolean;
  /**
   * Changes without a restart, in every replica: `fleet config set`. The variable is its value until then. Read it
   * where it is used; a copy made in a constructor stays as it was. A secret cannot be dynamic.
   */
  readonly dynamic?: boolean;
}

export type Settings = Readonly<Record<string, Setting<z.ZodType>>>;

/** The values of declared settings. */
export type ConfigValues<S extends Settings> = { readonly [K in keyof S]: z.output<S[K]['schema']> };

/** A configuration class: resolves itself from the environment, is injected by its own class. */
export interface ConfigClass<V> {
  new (values: V & ChassisConfig): V & ChassisConfig;
  readonly settings: Settings;
  /** Reads all settings; throws {@link InvalidConfigError} with every problem at once. */
  fromEnvironment<T>(this: new (values: V & ChassisConfig) => T, env: NodeJS.ProcessEnv): T;
}

/** One row of a service's settings, for documents and `--help`. */
export interface SettingDescription {
  readonly name: string;
  readonly env: string;
  readonly doc: string;
  readonly default: string | undefined;
  readonly dynamic: boolean;
}

/** What a text means for a setting, or why it cannot be its value. */
export type SettingReading = { readonly value: unknown } | { readonly problem: string };

/** Declares a setting with its type inferred. */
export function setting<S extends z.ZodType>(declared: Setting<S>): Setting<S> {
  return declared;
}

/**
 * Declares a service's configuration: `export class OrdersConfig extends defineConfig({...}) {}`. The chassis'
 * own settings (NATS, database, port, logs, drain) are part of every configuration.
 */
export function defineConfig<S extends Settings>(own: S): ConfigClass<ConfigValues<S>> {
  const settings: Settings = { ...chassisSettings, ...own };
  for (const [name, { secret, dynamic }] of Object.entries(settings)) {
    if (secret && dynamic) {
      throw new TypeError(
        `The setting ${name} is secret and dynamic: what changes without a restart is kept where people read it`,
      );
    }
  }
  class Config {
    static readonly settings = settings;

    constructor(values: object) {
      bindValues(this, settings, values as Record<string, unknown>);
      Object.freeze(this);
    }

    static fromEnvironment(env: NodeJS.ProcessEnv): unknown {
      return new this(resolveSettings(settings, env));
    }
  }
  // The fields come from the declaration; a class cannot say so itself.
  return Config as unknown as ConfigClass<ConfigValues<S>>;
}

function resolveSettings(settings: Settings, env: NodeJS.ProcessEnv): Record<string, unknown> {
  const problems: string[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, declared] of Object.entries(settings)) {
    let text: string | undefined;
    try {
      text = readSetting(declared.env, env);
    } catch (error) {
      problems.push(errorMessage(error));
      continue;
    }
    if (text === undefined) {
      if ('default' in declared) values[name] = declared.default;
      else problems.push(`${declared.env} is not set: ${declared.doc}`);
      continue;
    }
    const reading = readText(declared, text);
    if ('problem' in reading) problems.push(`${declared.env}: ${reading.problem}`);
    else values[name] = reading.value;
  }
  if (problems.length > 0) throw new InvalidConfigError(problems);
  return values;
}

function readText({ schema, secret, doc }: Setting<z.ZodType>, text: string): SettingReading {
  const parsed = schema.safeParse(text);
  if (parsed.success) return { value: parsed.data };
  const shown = secret ? 'the value' : `"${text}"`;
  const why = parsed.error.issues.map((issue) => issue.message).join('; ');
  return { problem: `${shown} is not valid: ${why} (${doc})` };
}

/** What a text would mean for a setting that changes without a restart; the same check wherever it is written. */
export function readDynamicSetting(
  { settings }: { readonly settings: Settings },
  name: string,
  text: string,
): SettingReading {
  const declared = Object.hasOwn(settings, name) ? settings[name] : undefined;
  if (declared?.dynamic !== true) {
    const dynamic = Object.keys(settings).filter((each) => settings[each]?.dynamic === true);
    const what = declared ? `changes only with a restart, by ${declared.env}` : 'does not exist';
    return { problem: `the setting ${what}; without one change: ${dynamic.join(', ')}` };
  }
  if (text === '') return { problem: `an empty value is none: unset it instead (${declared.doc})` };
  return readText(declared, text);
}

// An empty variable, or file, counts as unset: compose files and shells cannot unset one.
function readSetting(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const value = env[name] || undefined;
  const file = env[`${name}_FILE`];
  if (!file) return value;
  if (value !== undefined) throw new Error(`${name} and ${name}_FILE are both set: unset one of them`);
  try {
    return readFileSync(file, 'utf8').trim() || undefined;
  } catch (error) {
    throw new Error(`${name}_FILE cannot be read: ${errorMessage(error)}`, { cause: error });
  }
}

/** The names of a configuration's secret settings, for a logger to leave out. */
export function secretSettings({ settings }: { readonly settings: Settings }): string[] {
  return Object.entries(settings).flatMap(([name, { secret }]) => (secret ? [name] : []));
}

/** The settings of a configuration class as rows of text. */
export function describeSettings(config: { readonly settings: Settings }): SettingDescription[] {
  return Object.entries(config.settings).map(([name, declared]) => ({
    name,
    env: declared.env,
    doc: declared.doc,
    default: 'default' in declared ? shownDefault(declared) : undefined,
    dynamic: declared.dynamic === true,
  }));
}

function shownDefault({ default: value, secret }: Setting<z.ZodType>): string {
  if (value === undefined) return 'unset';
  return secret ? '(secret)' : JSON.stringify(value);
}
