import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import {
  defineConfig,
  describeSettings,
  InvalidConfigError,
  onConfigChange,
  readDynamicSetting,
  setting,
} from './index.ts';
import { secretSettings } from './define-config.ts';
import { dynamicValuesOf } from './dynamic-values.ts';

class ShopConfig extends defineConfig({
  limit: setting({
    env: 'SHOP_LIMIT',
    schema: z.coerce.number().int().positive(),
    default: 3,
    dynamic: true,
    doc: 'the limit',
  }),
  apiKey: setting({ env: 'SHOP_API_KEY', schema: z.string().min(8), secret: true, doc: 'the key' }),
}) {}

const needed = { NATS_URL: 'nats://a:1, nats://b:2', PORT: '0', SHOP_API_KEY: 'a-long-key' };
const problemsOf = (env: NodeJS.ProcessEnv): readonly string[] => {
  try {
    ShopConfig.fromEnvironment(env);
    return [];
  } catch (error) {
    if (error instanceof InvalidConfigError) return error.problems;
    throw error;
  }
};

describe('a configuration', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'flotilla-config-'));
  });
  afterAll(() => rmSync(dir, { recursive: true }));
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text);
    return join(dir, name);
  };

  it('has the service’s own settings and the chassis’, typed, with defaults, and cannot be changed', () => {
    const config = ShopConfig.fromEnvironment({ ...needed, SHOP_LIMIT: '7' });
    expect(config).toBeInstanceOf(ShopConfig);
    const typed: number = config.limit;
    expect([typed, config.apiKey, config.natsUrl]).toEqual([7, 'a-long-key', ['nats://a:1', 'nats://b:2']]);
    expect(config).toMatchObject({ port: 0, logLevel: 'info', maxAttempts: 6, databaseUrl: undefined });
    expect(() => Object.assign(config, { limit: 1 })).toThrow(TypeError);
  });

  it('names everything that is wrong at once, and shows no secret', () => {
    const problems = problemsOf({
      SHOP_LIMIT: 'many',
      SHOP_API_KEY: 'short',
      DATABASE_URL: 'mysql://me:hidden@db',
      PORT: '70000',
    });
    expect(problems.map((problem) => problem.split(/[: ]/, 1)[0])).toEqual([
      'NATS_URL',
      'DATABASE_URL',
      'PORT',
      'SHOP_LIMIT',
      'SHOP_API_KEY',
    ]);
    expect(problems[0]).toBe(
      'NATS_URL is not set: NATS servers, comma-separated, for example nats://127.0.0.1:3022',
    );
    expect(problems[3]).toMatch(/^SHOP_LIMIT: "many" is not valid: .* \(the limit\)$/);
    expect(problems.join()).not.toMatch(/hidden|"short"/);
  });

  it('takes an empty variable as one that is not set', () => {
    expect(ShopConfig.fromEnvironment({ ...needed, SHOP_LIMIT: '', SHOP_LIMIT_FILE: '' }).limit).toBe(3);
    expect(problemsOf({ ...needed, SHOP_API_KEY: '' })).toEqual(['SHOP_API_KEY is not set: the key']);
  });

  it('reads a value from the file that <NAME>_FILE names', () => {
    const { SHOP_API_KEY: _, ...rest } = needed;
    const key = file('key', 'from-a-file\n');
    expect(ShopConfig.fromEnvironment({ ...rest, SHOP_API_KEY_FILE: key }).apiKey).toBe('from-a-file');
    expect(problemsOf({ ...rest, SHOP_API_KEY_FILE: file('empty', '\n') })).toEqual([
      'SHOP_API_KEY is not set: the key',
    ]);
    expect(problemsOf({ ...rest, SHOP_API_KEY_FILE: join(dir, 'none') })).toEqual([
      expect.stringMatching(/^SHOP_API_KEY_FILE cannot be read: .*ENOENT.*none/),
    ]);
    expect(problemsOf({ ...needed, SHOP_API_KEY_FILE: key })).toEqual([
      'SHOP_API_KEY and SHOP_API_KEY_FILE are both set: unset one of them',
    ]);
  });

  it('describes its settings, and knows which are secret', () => {
    const rows = describeSettings(ShopConfig);
    expect(rows.find(({ env }) => env === 'SHOP_LIMIT')).toEqual({
      name: 'limit',
      env: 'SHOP_LIMIT',
      doc: 'the limit',
      default: '3',
      dynamic: true,
    });
    expect(rows.find(({ env }) => env === 'SHOP_API_KEY')?.default).toBeUndefined();
    expect(rows.find(({ env }) => env === 'DATABASE_URL')?.default).toBe('unset');
    expect(secretSettings(ShopConfig)).toEqual(['natsPassword', 'databaseUrl', 'apiKey']);
  });
});

describe('a dynamic setting', () => {
  const open = () => {
    const config = ShopConfig.fromEnvironment(needed);
    const values = dynamicValuesOf(config);
    if (!values) throw new Error('a configuration has its dynamic values');
    return { config, values };
  };

  it('is what it was last set to, in its own configuration only, and goes back to the environment’s value', () => {
    const { config, values } = open();
    const other = open().config;
    values.set('limit', 9);
    expect([config.limit, { ...config }.limit, other.limit]).toEqual([9, 9, 3]);
    values.reset('limit');
    expect(config.limit).toBe(3);
  });

  it('tells who listens of each change, until they stop, and of none that is none', () => {
    const { config, values } = open();
    const heard: number[][] = [];
    const stop = onConfigChange(config, 'limit', (value, before) => heard.push([before, value]));
    values.set('limit', 9);
    values.set('limit', 9);
    values.reset('limit');
    stop();
    values.set('limit', 4);
    expect(heard).toEqual([
      [3, 9],
      [9, 3],
    ]);
    expect(() => onConfigChange(config, 'apiKey', () => undefined)).toThrow(/apiKey cannot change/);
  });

  it('counts, and reaches the others, although one listener fails', () => {
    const { config, values } = open();
    const heard: number[] = [];
    onConfigChange(config, 'limit', () => {
      throw new Error('cannot follow');
    });
    onConfigChange(config, 'limit', (value) => heard.push(value));
    expect(() => values.set('limit', 9)).toThrow('cannot follow');
    expect([config.limit, heard]).toEqual([9, [9]]);
  });

  it('is checked by its own schema, and everything else is refused with what there is', () => {
    expect(readDynamicSetting(ShopConfig, 'limit', '7')).toEqual({ value: 7 });
    const wrong = [
      ['limit', '0'],
      ['limit', ''],
      ['apiKey', 'x'],
      ['toString', 'x'],
    ] as const;
    const problems = wrong.map(([name, text]) => readDynamicSetting(ShopConfig, name, text));
    expect(problems).toEqual([
      { problem: expect.stringMatching(/^"0" is not valid: .* \(the limit\)$/) as string },
      { problem: 'an empty value is none: unset it instead (the limit)' },
      {
        problem:
          'the setting changes only with a restart, by SHOP_API_KEY; without one change: maxInFlight, limit',
      },
      { problem: 'the setting does not exist; without one change: maxInFlight, limit' },
    ]);
  });

  it('cannot be a secret', () => {
    expect(() =>
      defineConfig({
        key: setting({ env: 'KEY', schema: z.string(), secret: true, dynamic: true, doc: 'a key' }),
      }),
    ).toThrow(/key is secret and dynamic/);
  });
});
