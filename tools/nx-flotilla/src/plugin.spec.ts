import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { inferTargets } from './plugin.mjs';

describe('inferTargets', () => {
  let workspace: string;

  beforeEach(() => {
    workspace = mkdtempSync(join(tmpdir(), 'flotilla-plugin-'));
  });

  afterEach(() => {
    rmSync(workspace, { recursive: true, force: true });
  });

  function project(root: string, tags: string[], files: readonly string[]): void {
    const manifest = {
      name: root,
      nx: { tags },
      ...(tags.includes('type:lib') ? { exports: { '.': './dist/index.js' } } : {}),
    };
    for (const file of ['package.json', ...files]) {
      const path = join(workspace, root, file);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, file === 'package.json' ? JSON.stringify(manifest) : '');
    }
  }

  it('gives a library lint, types, unit tests and a build', () => {
    project('libs/a', ['type:lib'], ['tsconfig.json', 'src/index.ts', 'src/deep/a.spec.ts']);
    expect(Object.keys(inferTargets(workspace, 'libs/a'))).toEqual(['lint', 'typecheck', 'test', 'build']);
  });

  it('gives an app a continuous serve and its integration tests a machine of their own', () => {
    project('apps/a', ['type:app'], ['tsconfig.json', 'src/main.ts', 'test/a.int-spec.ts']);
    const targets = inferTargets(workspace, 'apps/a');
    expect(Object.keys(targets)).toEqual(['lint', 'typecheck', 'test-int', 'build', 'serve']);
    expect(targets['serve']).toMatchObject({
      continuous: true,
      command: expect.stringMatching(/fleet\/src\/main\.ts serve a$/) as unknown,
    });
    expect(targets['test-int']).toMatchObject({ parallelism: false, cache: true });
    expect(targets['build']).toMatchObject({ dependsOn: ['^build'], outputs: ['{projectRoot}/dist'] });
  });

  it('keeps the end-to-end tests apart from the integration tests', () => {
    project('apps/fleet-e2e', ['type:e2e'], ['tsconfig.json', 'test/a.int-spec.ts', 'test/b.e2e-spec.ts']);
    expect(Object.keys(inferTargets(workspace, 'apps/fleet-e2e'))).toEqual(['lint', 'typecheck', 'e2e']);
  });

  it('checks every TypeScript configuration of a project', () => {
    project('apps/console', ['type:app'], ['tsconfig.json', 'tsconfig.web.json']);
    expect(inferTargets(workspace, 'apps/console')['typecheck']?.command).toBe(
      'tsc --noEmit -p apps/console/tsconfig.json && tsc --noEmit -p apps/console/tsconfig.web.json',
    );
  });

  it('asks nothing of a folder that holds no TypeScript', () => {
    project('apps/python', ['type:app'], ['main.py']);
    expect(inferTargets(workspace, 'apps/python')).toEqual({});
  });
});
