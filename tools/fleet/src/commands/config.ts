import type { Command } from 'commander';
import { readDynamicSetting } from '@flotilla/service/config';
import { ConfigBucket, connectNats, type ConfigEntry } from '@flotilla/messaging';
import { configOf, InvalidSettingError, type ServiceConfig } from '../operate/service-config.ts';
import { operatorName } from '../operate/operator-name.ts';
import { discoverServices, type Service } from '../services.ts';
import { findNats } from '../stack/nats-access.ts';
import { table } from '../terminal.ts';
import { dirOf, withData, withJson, type CommandContext, type DataOption } from './shared.ts';

interface ConfigOptions extends DataOption {
  readonly by: string;
  readonly json?: boolean;
}

/** One dynamic setting as `fleet config` shows it. */
interface SettingFacts {
  readonly service: string;
  readonly key: string;
  /** In the bucket; undefined: none, the environment's counts. */
  readonly value?: string;
  /** The variable and default that count without a value. */
  readonly env: string;
  readonly default: string | undefined;
  readonly doc: string;
  readonly revision?: number;
  readonly at?: string;
  readonly by?: string;
  /** Why the service refuses the value that the bucket has. */
  readonly refused?: string;
}

/** `fleet config` */
export function addConfig(program: Command, { terminal }: CommandContext): void {
  const config = program
    .command('config')
    .description('look at the settings that change without a restart, and change them');

  withJson(
    withData(
      config
        .command('list')
        .description('the settings that change without a restart, and their values')
        .argument('[service]', 'only those of one service'),
    ),
  ).action(async (name: string | undefined, options: ConfigOptions) => {
    const services = await discoverServices();
    const chosen = name === undefined ? services.map((each) => each.name) : [name];
    const configs = await Promise.all(chosen.map((each) => configOf(services, each)));
    const [facts, unknown] = await withBucket(options, async (bucket) => {
      const all = await Promise.all(configs.map((each) => factsOf(bucket, each)));
      return [all.flat(), await unknownKeys(bucket, services, configs)];
    });
    if (options.json === true) {
      terminal.print(JSON.stringify({ settings: facts, unknown }, null, 2));
    } else {
      terminal.print(
        table(
          ['service', 'setting', 'value', 'revision', 'by'],
          facts.map(({ service, key, value, env, revision, by, refused }) => [
            service,
            key,
            refused === undefined ? (value ?? `(${env})`) : `${value} REFUSED`,
            value === undefined ? '' : String(revision),
            value === undefined ? '' : (by ?? ''),
          ]),
        ),
      );
    }
    for (const { refused } of facts) if (refused !== undefined) terminal.note(`Refused: ${refused}`);
    if (unknown.length > 0)
      terminal.note(`In the bucket, and no setting of any service: ${unknown.join(', ')}`);
  });

  withSetting(
    config.command('get').description('one setting: its value, where it comes from, what it means'),
  ).action(async (name: string, key: string, options: ConfigOptions) => {
    const settings = await settingsOf(name, key);
    const facts = (await withBucket(options, (bucket) => factsOf(bucket, settings))).find(
      (each) => each.key === key,
    );
    terminal.print(options.json === true ? JSON.stringify(facts, null, 2) : describe(facts as SettingFacts));
  });

  withBy(
    withSetting(
      config.command('set').description('change a setting, in every replica and without a restart'),
      ['<value>', 'as the environment variable would say it'],
    ),
  ).action(async (name: string, key: string, value: string, options: ConfigOptions) => {
    const settings = await settingsOf(name, key);
    const reading = readDynamicSetting(settings, key, value);
    if ('problem' in reading) throw new InvalidSettingError(name, key, reading.problem);
    const revision = await withBucket(options, async (bucket) => {
      const before = await bucket.read(name, key);
      return bucket.set(name, key, value, { by: options.by, after: before?.revision ?? 0 });
    });
    if (options.json === true)
      terminal.print(JSON.stringify({ service: name, key, value, revision }, null, 2));
    else terminal.print(`${key} of ${name} is ${value} (revision ${revision})`);
  });

  withBy(
    withSetting(
      config.command('unset').description("have the environment's value, or the default, count again"),
    ),
  ).action(async (name: string, key: string, options: ConfigOptions) => {
    // Also one that no service has any more: what is in the bucket can be taken out.
    const services = await discoverServices();
    await configOf(services, name);
    const revision = await withBucket(options, async (bucket) => {
      const before = await bucket.read(name, key);
      if (before?.value === undefined) return undefined;
      return bucket.unset(name, key, { by: options.by, after: before.revision });
    });
    if (options.json === true) terminal.print(JSON.stringify({ service: name, key, revision }, null, 2));
    else if (revision === undefined) terminal.print(`${key} of ${name} has no value in the bucket`);
    else terminal.print(`${key} of ${name} is what the environment says (revision ${revision})`);
  });

  withSetting(
    config.command('history').description('the values that a setting had, and who set them, oldest first'),
  ).action(async (name: string, key: string, options: ConfigOptions) => {
    await settingsOf(name, key);
    const entries = await withBucket(options, (bucket) => bucket.history(name, key));
    if (options.json === true) {
      terminal.print(JSON.stringify(entries.map(entryFacts), null, 2));
    } else if (entries.length === 0) {
      terminal.print(`${key} of ${name} was never set`);
    } else {
      terminal.print(
        table(
          ['revision', 'at', 'by', 'value'],
          entries.map((each) => [
            String(each.revision),
            each.at.toISOString(),
            each.by ?? '',
            each.value ?? '(unset)',
          ]),
        ),
      );
    }
  });

  async function withBucket<T>(options: DataOption, work: (bucket: ConfigBucket) => Promise<T>): Promise<T> {
    const connection = await connectNats({ ...(await findNats(dirOf(options))), name: 'fleet config' });
    try {
      return await work(new ConfigBucket(connection));
    } finally {
      await connection.close();
    }
  }
}

function withSetting(command: Command, ...more: [name: string, description: string][]): Command {
  const described = command
    .argument('<service>', 'the service')
    .argument('<key>', 'the setting, as "fleet config list" names it');
  for (const [name, description] of more) described.argument(name, description);
  return withJson(withData(described));
}

function withBy(command: Command): Command {
  return command.option('--by <name>', 'who changes it; it is kept in the history', operatorName());
}

/** The settings of a service; throws when the one that is named does not exist or does not change. */
async function settingsOf(name: string, key: string): Promise<ServiceConfig> {
  const config = await configOf(await discoverServices(), name);
  if (config.dynamic.some((each) => each.name === key)) return config;
  const reading = readDynamicSetting(config, key, '');
  throw new InvalidSettingError(name, key, 'problem' in reading ? reading.problem : 'it does not change');
}

async function factsOf(bucket: ConfigBucket, config: ServiceConfig): Promise<SettingFacts[]> {
  const { service, dynamic } = config;
  return Promise.all(
    dynamic.map(async ({ name: key, env, default: fallback, doc }) => {
      const entry = await bucket.read(service, key);
      const facts = { service, key, env, default: fallback, doc };
      if (!entry) return facts;
      const reading = entry.value ? readDynamicSetting(config, key, entry.value) : undefined;
      return {
        ...facts,
        ...entryFacts(entry),
        ...(reading && 'problem' in reading && { refused: `${service} ${key}: ${reading.problem}` }),
      };
    }),
  );
}

function entryFacts({ value, revision, at, by }: ConfigEntry): object {
  return {
    ...(value !== undefined && { value }),
    revision,
    at: at.toISOString(),
    ...(by !== undefined && { by }),
  };
}

/** What the bucket has and no service reads: a setting that was renamed, or a slip of somebody's own tool. */
async function unknownKeys(
  bucket: ConfigBucket,
  services: readonly Service[],
  configs: readonly ServiceConfig[],
): Promise<string[]> {
  const known = new Set(
    configs.flatMap(({ service, dynamic }) => dynamic.map(({ name }) => `${service}.${name}`)),
  );
  const shown = new Set(configs.map(({ service }) => service));
  const names = new Set(services.map(({ name }) => name));
  const strays: string[] = [];
  for (const { service, key } of await bucket.keys()) {
    if (known.has(`${service}.${key}`) || (names.has(service) && !shown.has(service))) continue;
    if ((await bucket.read(service, key))?.value !== undefined) strays.push(`${service}.${key}`);
  }
  return strays;
}

function describe(facts: SettingFacts): string {
  const { service, key, value, env, default: fallback, doc, revision, at, by, refused } = facts;
  const since = `revision ${revision}, ${at}${by === undefined ? '' : `, by ${by}`}`;
  return [
    `${key} of ${service}: ${doc}`,
    value === undefined
      ? `value    what ${env} says${fallback === undefined ? '' : `, else ${fallback}`}`
      : `value    ${value} (${since})`,
    ...(refused === undefined ? [] : [`REFUSED  ${refused}; the service keeps the value before`]),
  ].join('\n');
}
