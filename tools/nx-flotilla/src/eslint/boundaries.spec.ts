import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';

// One small workspace with the real lint configuration: each bad file must be reported by the rule it is there for,
// each good file by none.

const WORKSPACE_ROOT = join(import.meta.dirname, '../../../..');
const BOUNDARIES = '@nx/enforce-module-boundaries';

const PROJECTS = [
  { root: 'libs/kernel', name: 'kernel', tags: ['type:lib', 'scope:chassis', 'level:pure'] },
  { root: 'libs/embedded', name: 'embedded', tags: ['type:lib', 'scope:chassis', 'level:node'] },
  { root: 'libs/messaging', name: 'messaging', tags: ['type:lib', 'scope:chassis', 'level:nest'] },
  {
    root: 'libs/contracts/protocol',
    name: 'contracts-protocol',
    tags: ['type:lib', 'scope:contracts', 'level:pure'],
  },
  {
    root: 'libs/contracts/money',
    name: 'contracts-money',
    tags: ['type:lib', 'scope:contracts', 'level:pure'],
  },
  {
    root: 'libs/contracts/orders',
    name: 'contracts-orders',
    tags: ['type:lib', 'scope:contracts', 'level:pure'],
  },
  { root: 'apps/orders', name: 'orders', tags: ['type:app', 'scope:orders', 'level:nest'] },
  { root: 'apps/payments', name: 'payments', tags: ['type:app', 'scope:payments', 'level:nest'] },
  { root: 'tools/fleet', name: 'fleet', tags: ['type:tool', 'scope:fleet', 'level:nest'] },
];

interface Case {
  readonly title: string;
  readonly file: string;
  readonly code: string;
  /** The rule that must speak, and a piece of what it says; absent for code that must pass. */
  readonly rule?: string;
  readonly says?: RegExp;
}

const BAD: readonly Case[] = [
  {
    title: 'an app imports an app',
    file: 'apps/orders/src/app-to-app.ts',
    code: `export * from '@flotilla/payments';`,
    rule: BOUNDARIES,
    says: /Imports of apps are forbidden/,
  },
  {
    title: 'an app imports a tool',
    file: 'apps/orders/src/app-to-tool.ts',
    code: `export * from '@flotilla/fleet';`,
    rule: BOUNDARIES,
    says: /"type:app" can only depend on libs tagged with "type:lib"/,
  },
  {
    title: 'a project is imported by a relative path',
    file: 'apps/orders/src/relative.ts',
    code: `export * from '../../../libs/kernel/src/index.ts';`,
    rule: BOUNDARIES,
    says: /cannot be imported by a relative or absolute path/,
  },
  {
    title: 'a library imports an app',
    file: 'libs/messaging/src/lib-to-app.ts',
    code: `export * from '@flotilla/orders';`,
    rule: BOUNDARIES,
    says: /Imports of apps are forbidden/,
  },
  {
    title: 'the chassis imports a business contract',
    file: 'libs/messaging/src/chassis-to-contract.ts',
    code: `export * from '@flotilla/contracts-orders';`,
    rule: BOUNDARIES,
    says: /"scope:chassis" can not depend on libs tagged with "contracts:business"/,
  },
  {
    title: 'a contract imports the chassis',
    file: 'libs/contracts/orders/src/contract-to-chassis.ts',
    code: `export * from '@flotilla/embedded';`,
    rule: BOUNDARIES,
    says: /"scope:contracts" can only depend on libs tagged with/,
  },
  {
    title: 'a pure library imports one that is not',
    file: 'libs/kernel/src/pure-to-nest.ts',
    code: `export * from '@flotilla/messaging';`,
    rule: BOUNDARIES,
    says: /"level:pure" can only depend on libs tagged with "level:pure"/,
  },
  ...['@nestjs/common', 'typeorm', '@nats-io/jetstream', '@nats-io/transport-node', 'pg'].map(
    (library, index) => ({
      title: `a pure library imports ${library}`,
      file: `libs/kernel/src/pure-${String(index)}.ts`,
      code: `export * from '${library}';`,
      rule: BOUNDARIES,
      says: new RegExp(`"level:pure" is not allowed to import "${library}"`),
    }),
  ),
  {
    title: 'a pure library imports a framework dynamically',
    file: 'libs/kernel/src/pure-dynamic.ts',
    code: `export const load = () => import('typeorm');`,
    rule: BOUNDARIES,
    says: /is not allowed to import "typeorm"/,
  },
  {
    title: 'a pure library outside the contracts imports even types of Nest CQRS',
    file: 'libs/kernel/src/pure-cqrs.ts',
    code: `export type { ICommand } from '@nestjs/cqrs';`,
    rule: BOUNDARIES,
    says: /is not allowed to import "@nestjs\/cqrs"/,
  },
  {
    title: 'a library for plain Node imports Nest',
    file: 'libs/embedded/src/node-to-nest.ts',
    code: `export * from '@nestjs/common';`,
    rule: BOUNDARIES,
    says: /"level:node" is not allowed to import "@nestjs\/common"/,
  },
  {
    title: 'the protocol imports values of Nest CQRS',
    file: 'libs/contracts/protocol/src/cqrs-value.ts',
    code: `import { Command } from '@nestjs/cqrs';\nexport class X extends Command<void> {}`,
    rule: '@typescript-eslint/no-restricted-imports',
    says: /only types/,
  },
  {
    title: 'a contract imports a module of Node',
    file: 'libs/contracts/orders/src/node.ts',
    code: `export { readFileSync } from 'node:fs';`,
    rule: 'no-restricted-imports',
    says: /browser-safe/,
  },
  {
    title: 'the domain imports a framework',
    file: 'apps/orders/src/domain/nest.ts',
    code: `export { Injectable } from '@nestjs/common';`,
    rule: 'flotilla/domain-imports',
    says: /not "@nestjs\/common"/,
  },
  {
    title: 'the domain imports a contract',
    file: 'apps/orders/src/domain/contract.ts',
    code: `import * as orders from '@flotilla/contracts-orders';\nexport const all = orders;`,
    rule: 'flotilla/domain-imports',
    says: /not "@flotilla\/contracts-orders"/,
  },
  {
    title: 'the domain imports its own application layer, from a folder below',
    file: 'apps/orders/src/domain/order/up.ts',
    code: `export * from '../../application/use-case.ts';`,
    rule: 'flotilla/domain-imports',
    says: /not "..\/..\/application\/use-case.ts"/,
  },
  {
    title: 'the domain imports dynamically',
    file: 'apps/orders/src/domain/dynamic.ts',
    code: `export const load = () => import('pg');`,
    rule: 'flotilla/domain-imports',
    says: /not "pg"/,
  },
  {
    title: 'a promise floats',
    file: 'libs/messaging/src/floating.ts',
    code: `const work = async (): Promise<void> => undefined;\nwork();`,
    rule: '@typescript-eslint/no-floating-promises',
  },
  {
    title: 'an explicit any',
    file: 'libs/messaging/src/any.ts',
    code: `export const decode = (data: any): string => String(data);`,
    rule: '@typescript-eslint/no-explicit-any',
  },
  {
    title: 'a value import that only types need',
    file: 'libs/messaging/src/type-import.ts',
    code: `import { Stats } from 'node:fs';\nexport const size = (stats: Stats): number => stats.size;`,
    rule: '@typescript-eslint/consistent-type-imports',
  },
  {
    title: 'a swallowed error',
    file: 'libs/messaging/src/swallow.ts',
    code: `try {\n  JSON.parse('');\n} catch {}`,
    rule: 'no-empty',
  },
];

const GOOD: readonly Case[] = [
  {
    title: 'an app imports chassis and contracts',
    file: 'apps/orders/src/good.ts',
    code: `export * from '@flotilla/messaging';\nexport * from '@flotilla/contracts-orders';`,
  },
  {
    title: 'the chassis imports the protocol',
    file: 'libs/messaging/src/good.ts',
    code: `export * from '@flotilla/contracts-protocol';\nexport { Inject } from '@nestjs/common';`,
  },
  {
    title: 'a contract imports protocol, money, kernel and zod',
    file: 'libs/contracts/orders/src/good.ts',
    code: `export * from '@flotilla/contracts-protocol';\nexport * from '@flotilla/contracts-money';\nexport * from '@flotilla/kernel';\nexport { z } from 'zod';`,
  },
  {
    title: 'the protocol imports types of Nest CQRS',
    file: 'libs/contracts/protocol/src/good.ts',
    code: `import type { Command } from '@nestjs/cqrs';\nexport type Reply<T> = Command<T>;`,
  },
  {
    title: 'the domain imports the kernel, money and its own files',
    file: 'apps/orders/src/domain/order/good.ts',
    code: `export * from '@flotilla/kernel';\nexport * from '@flotilla/contracts-money';\nexport * from '../line.ts';`,
  },
  {
    title: 'a class that Nest injects stays a value import',
    file: 'apps/orders/src/application/injected.ts',
    code: [
      `import { Injectable } from '@nestjs/common';`,
      `import { CommandBus } from '@nestjs/cqrs';`,
      `@Injectable()`,
      `export class Place {`,
      `  constructor(private readonly bus: CommandBus) {}`,
      `  has(): boolean {`,
      `    return this.bus !== undefined;`,
      `  }`,
      `}`,
    ].join('\n'),
  },
  {
    title: 'a tool imports a service manifest, by package name or by path',
    file: 'tools/fleet/src/good.ts',
    code: `export * from '@flotilla/orders/service';\nexport * from '../../../apps/payments/src/payments.service.ts';`,
  },
  {
    title: 'a message class with an empty body',
    file: 'libs/contracts/protocol/src/message.ts',
    code: `class Base {\n  readonly kind: string = 'command';\n}\nexport class ReserveStock extends Base {}`,
  },
];

interface LintMessage {
  readonly ruleId: string | null;
  readonly message: string;
}

let workspace: string;
let reports: ReadonlyMap<string, readonly LintMessage[]>;

beforeAll(() => {
  workspace = realpathSync(mkdtempSync(join(tmpdir(), 'flotilla-lint-')));
  createWorkspace();
  reports = lintWorkspace();
});

afterAll(() => {
  rmSync(workspace, { recursive: true, force: true });
});

describe('the lint configuration reports that', () => {
  it.each(BAD)('$title', ({ file, rule, says }) => {
    const spoken = (reports.get(file) ?? []).filter((message) => message.ruleId === rule);
    expect(spoken.map((message) => message.message)).toEqual(
      expect.arrayContaining([expect.stringMatching(says ?? /./)]),
    );
  });
});

describe('the lint configuration accepts that', () => {
  it.each(GOOD)('$title', ({ file }) => {
    expect(reports.get(file)).toEqual([]);
  });
});

function write(path: string, content: string): void {
  mkdirSync(dirname(join(workspace, path)), { recursive: true });
  writeFileSync(join(workspace, path), content);
}

function createWorkspace(): void {
  write(
    'package.json',
    JSON.stringify({ name: 'fixture', workspaces: ['apps/*', 'libs/*', 'libs/contracts/*', 'tools/*'] }),
  );
  write(
    'package-lock.json',
    JSON.stringify({ name: 'fixture', lockfileVersion: 3, packages: lockedPackages() }),
  );
  write('plugin.mjs', `export * from '${join(WORKSPACE_ROOT, 'tools/nx-flotilla/src/plugin.mjs')}';`);
  write(
    'nx.json',
    JSON.stringify({
      plugins: ['./plugin.mjs'],
      useDaemonProcess: false,
      analytics: false,
      neverConnectToCloud: true,
    }),
  );
  linkDependencies();
  for (const { root, name, tags } of PROJECTS) {
    const source = (file: string): unknown => ({
      '@flotilla/source': `./src/${file}`,
      default: './dist/index.js',
    });
    const exports = {
      '.': source('index.ts'),
      ...(name === 'orders' ? { './service': source('orders.service.ts') } : {}),
    };
    write(
      `${root}/package.json`,
      JSON.stringify({ name: `@flotilla/${name}`, type: 'module', exports, nx: { tags } }),
    );
    write(
      `${root}/tsconfig.json`,
      JSON.stringify({
        extends: join(WORKSPACE_ROOT, 'tsconfig.base.json'),
        compilerOptions: { types: [] },
        include: ['src'],
      }),
    );
    write(`${root}/src/index.ts`, `export const ${name.replaceAll('-', '_')} = 1;\n`);
    symlinkSync(join(workspace, root), join(workspace, 'node_modules/@flotilla', name));
  }
  write('apps/orders/src/orders.service.ts', 'export const ordersService = 1;\n');
  write('apps/payments/src/payments.service.ts', 'export const paymentsService = 1;\n');
  write('apps/orders/src/domain/line.ts', 'export const line = 1;\n');
  write('apps/orders/src/application/use-case.ts', 'export const useCase = 1;\n');
  for (const { file, code } of [...BAD, ...GOOD]) write(file, `${code}\n`);
}

/** The lock file entries by which Nx knows third-party packages: those that the cases import. */
function lockedPackages(): Record<string, { version: string }> {
  const imported = [...BAD, ...GOOD].flatMap(({ code }) => [...code.matchAll(/'((?:@[\w-]+\/)?[\w-]+)'/g)]);
  const installed = imported
    .map(([, name]) => `node_modules/${name ?? ''}`)
    .filter((path) => !path.includes('@flotilla/') && existsSync(join(WORKSPACE_ROOT, path, 'package.json')))
    .map((path) => {
      const manifest = readFileSync(join(WORKSPACE_ROOT, path, 'package.json'), 'utf8');
      return [path, { version: (JSON.parse(manifest) as { version: string }).version }] as const;
    });
  return Object.fromEntries(installed);
}

/** All third-party packages of the real workspace, but none of its projects. */
function linkDependencies(): void {
  mkdirSync(join(workspace, 'node_modules/@flotilla'), { recursive: true });
  const installed = join(WORKSPACE_ROOT, 'node_modules');
  for (const entry of readdirSync(installed)) {
    if (entry !== '@flotilla' && entry !== '.bin' && entry !== '.package-lock.json') {
      symlinkSync(join(installed, entry), join(workspace, 'node_modules', entry));
    }
  }
}

function lintWorkspace(): ReadonlyMap<string, readonly LintMessage[]> {
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('NX_')));
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [
      join(WORKSPACE_ROOT, 'node_modules/eslint/bin/eslint.js'),
      ...['--config', join(WORKSPACE_ROOT, 'eslint.config.mjs')],
      ...['--format', 'json', 'apps', 'libs', 'tools'],
    ],
    {
      cwd: workspace,
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
      env: { ...env, NX_WORKSPACE_ROOT_PATH: workspace, NX_DAEMON: 'false' },
    },
  );
  if (!stdout.startsWith('[')) throw new Error(`ESLint gave no report: ${stdout}${stderr}`);
  const results = JSON.parse(stdout) as { filePath: string; messages: LintMessage[] }[];
  return new Map(results.map(({ filePath, messages }) => [relative(workspace, filePath), messages]));
}
