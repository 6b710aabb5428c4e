import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { assembleService } from './assemble.ts';

describe('assembleService', () => {
  let folder: string;
  let workspace: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'flotilla-assemble-'));
    workspace = join(folder, 'workspace');
    write('package.json', JSON.stringify({ name: 'fixture', workspaces: ['apps/*', 'libs/*'] }));
    add('libs/used', '@flotilla/used', ['@flotilla/deep'], `export { deep as used } from '@flotilla/deep';`);
    add('libs/deep', '@flotilla/deep', [], `export const deep = 'deep' as string;`);
    add('libs/other', '@flotilla/other', [], `export const other = 1;`);
  });

  afterEach(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  function write(path: string, content: string): void {
    mkdirSync(dirname(join(workspace, path)), { recursive: true });
    writeFileSync(join(workspace, path), content);
  }

  function add(root: string, name: string, dependencies: readonly string[], code: string): void {
    write(
      `${root}/package.json`,
      JSON.stringify({
        name,
        type: 'module',
        exports: { '.': { '@flotilla/source': './src/index.ts', default: './dist/index.js' } },
        dependencies: Object.fromEntries(dependencies.map((dependency) => [dependency, '*'])),
      }),
    );
    write(`${root}/src/${root.startsWith('apps/') ? 'main' : 'index'}.ts`, code);
  }

  it('puts together what the service needs, and that runs', async () => {
    add(
      'apps/shop',
      '@flotilla/shop',
      ['@flotilla/used'],
      `import { used } from '@flotilla/used';\nconsole.log(used);`,
    );
    const target = join(folder, 'out');
    const { packages } = await assembleService(workspace, 'shop', target);
    expect(packages).toEqual(['@flotilla/shop', '@flotilla/used', '@flotilla/deep']);
    expect(existsSync(join(target, 'libs/other'))).toBe(false);
    expect(existsSync(join(target, 'libs/used/src'))).toBe(false);
    expect(
      execFileSync(process.execPath, [join(target, 'apps/shop/dist/main.js')], { encoding: 'utf8' }),
    ).toBe('deep\n');
  });

  it('refuses an import that package.json does not list', async () => {
    add('apps/shop', '@flotilla/shop', [], `export const late = () => import('@flotilla/other');`);
    await expect(assembleService(workspace, 'shop', join(folder, 'out'))).rejects.toThrow(
      'list @flotilla/other in the dependencies of apps/shop/package.json',
    );
  });

  it('says when there is no such app', async () => {
    await expect(assembleService(workspace, 'shop', join(folder, 'out'))).rejects.toThrow(
      'name a folder below apps/',
    );
  });
});
