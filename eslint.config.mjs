import { createProjectGraphAsync } from '@nx/devkit';
import eslint from '@eslint/js';
import nx from '@nx/eslint-plugin';
import prettier from 'eslint-config-prettier/flat';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';
import { domainImports } from './tools/nx-flotilla/src/eslint/domain-imports.mjs';

// The boundary rule silently checks nothing without a project graph. Nx has one ready for its own tasks; an editor
// or a bare `eslint` makes it here.
if (process.env['NX_TASK_TARGET_PROJECT'] === undefined)
  await createProjectGraphAsync({ exitOnError: false });

const TYPESCRIPT = ['**/*.ts', '**/*.tsx', '**/*.mts'];
const SPECS = ['**/*.spec.ts', '**/*.int-spec.ts', '**/*.e2e-spec.ts', '**/test/**/*.ts'];

/** What a `level:pure` project must run without. */
const FRAMEWORKS = ['@nestjs/*', 'typeorm', '@nats-io/*', 'pg', 'fastify', '@fastify/*'];

/** Who may import whom. `contracts:business` is inferred by tools/nx-flotilla: each contract but the protocol. */
const depConstraints = [
  { sourceTag: 'type:app', onlyDependOnLibsWithTags: ['type:lib'] },
  { sourceTag: 'type:lib', onlyDependOnLibsWithTags: ['type:lib'] },
  { sourceTag: 'type:e2e', onlyDependOnLibsWithTags: ['type:lib', 'type:tool'] },
  { sourceTag: 'type:tool', onlyDependOnLibsWithTags: ['type:lib', 'type:tool', 'type:app'] },
  { sourceTag: 'scope:contracts', onlyDependOnLibsWithTags: ['scope:contracts', 'level:pure'] },
  { sourceTag: 'scope:chassis', notDependOnLibsWithTags: ['contracts:business'] },
  { sourceTag: 'scope:testing', notDependOnLibsWithTags: ['contracts:business'] },
  { sourceTag: 'level:pure', onlyDependOnLibsWithTags: ['level:pure'], bannedExternalImports: FRAMEWORKS },
  { sourceTag: 'level:node', bannedExternalImports: ['@nestjs/*', 'typeorm'] },
];

/** @param {string[]} allow patterns of imports that are right in spite of the constraints */
const boundaries = (...allow) => ({
  '@nx/enforce-module-boundaries': [
    'error',
    { allow: ['^(?:\\.\\./)+jest\\.preset\\.mjs$', ...allow], depConstraints },
  ],
});

export default defineConfig(
  {
    ignores: [
      '**/dist/',
      '**/node_modules/',
      '**/coverage/',
      '**/generated/',
      '.nx/',
      '.cache/',
      '.flotilla/',
      'tools/*/test/fixtures/',
    ],
  },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  eslint.configs.recommended,
  {
    files: TYPESCRIPT,
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      // In files with decorators the rule leaves imports alone: a class that Nest injects must stay a value.
      '@typescript-eslint/consistent-type-imports': ['error', { disallowTypeAnnotations: false }],
      '@typescript-eslint/no-import-type-side-effects': 'error',
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true },
      ],
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      // A handler is asynchronous by its interface, whether or not it awaits.
      '@typescript-eslint/require-await': 'off',
      // A message class is its definition: `class X extends defineCommand({...}) {}`.
      '@typescript-eslint/no-empty-object-type': ['error', { allowInterfaces: 'with-single-extends' }],
      'no-empty': ['error', { allowEmptyCatch: false }],
      eqeqeq: 'error',
    },
  },
  {
    files: ['**/*.mjs', '**/*.js', '**/*.cjs'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: {
      globals: { process: 'readonly', performance: 'readonly', console: 'readonly', URL: 'readonly' },
    },
  },
  {
    files: SPECS,
    rules: {
      // `expect(port.publish).toHaveBeenCalled()` names a method without calling it.
      '@typescript-eslint/unbound-method': 'off',
    },
  },

  // Module boundaries
  { files: [...TYPESCRIPT, '**/*.mjs'], plugins: { '@nx': nx }, rules: boundaries() },
  {
    files: ['tools/**/*.ts', 'tools/**/*.mjs'],
    // The fleet is derived from what each service says about itself in a pure file.
    rules: boundaries(
      '^@flotilla/[a-z-]+/(?:service|manifest)$',
      '^(?:\\.\\./)+apps/[a-z-]+/src/[a-z-]+\\.service\\.ts$',
    ),
  },
  {
    files: ['libs/contracts/**/*.ts'],
    rules: {
      // A message is a command, query or event of @nestjs/cqrs by its type, but loads none of it: contracts run in
      // browsers too.
      ...boundaries('^@nestjs/cqrs$'),
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          paths: [
            {
              name: '@nestjs/cqrs',
              allowTypeImports: true,
              message: 'Contracts may import only types of @nestjs/cqrs.',
            },
          ],
        },
      ],
    },
  },
  {
    files: ['libs/contracts/*/src/**/*.ts'],
    ignores: SPECS,
    rules: {
      'no-restricted-imports': [
        'error',
        { patterns: [{ regex: '^node:', message: 'Contracts are browser-safe: no modules of Node.' }] },
      ],
    },
  },
  {
    files: ['apps/*/src/domain/**/*.ts'],
    ignores: SPECS,
    plugins: { flotilla: { rules: { 'domain-imports': domainImports } } },
    rules: {
      'flotilla/domain-imports': ['error', { packages: ['@flotilla/kernel', '@flotilla/contracts-money'] }],
    },
  },
  prettier,
);
