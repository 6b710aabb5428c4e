import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { BuildError, buildAll, buildProject, findBuildableProjects } from './build.ts';

const WORKSPACE_ROOT = join(import.meta.dirname, '../../..');

describe('buildProject', () => {
  let root: string;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'flotilla-build-'));
    write('package.json', '{ "name": "@fixture/project", "type": "module" }');
    symlinkSync(join(WORKSPACE_ROOT, 'node_modules'), join(root, 'node_modules'));
  });

  afterEach(() => {
    rmSync(root, { recursive: true, force: true });
  });

  function write(path: string, content: string): void {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }

  function run(path: string): string {
    return execFileSync(process.execPath, ['--enable-source-maps', join(root, path)], { encoding: 'utf8' });
  }

  it('gives code that runs: import endings, decorator metadata, class names', async () => {
    write('src/dep.ts', `export class Dep { readonly greeting = 'hello'; }`);
    write('src/sub/all.ts', `export * from './one.ts';`);
    write('src/sub/one.ts', `export const one: number = 1;`);
    write('src/lazy.ts', `export const lazy = 'lazy' as string;`);
    write('src/data.json', `{ "answer": 42 }`);
    write(
      'src/main.ts',
      `import 'reflect-metadata';
       import { Dep } from './dep.ts';
       import { one } from './sub/all.ts';
       import type { Unused } from './types.ts';
       import data from './data.json' with { type: 'json' };
       const { lazy } = await import('./lazy.ts');
       const Injectable = (): ClassDecorator => () => undefined;
       @Injectable()
       class Service {
         constructor(readonly dep: Dep) {}
       }
       const types: unknown = Reflect.getMetadata('design:paramtypes', Service);
       console.log(JSON.stringify([Service.name, (types as { name: string }[])[0]?.name, one, lazy, data.answer]));
       export type { Unused };`,
    );
    await buildProject(root);
    expect(JSON.parse(run('dist/main.js'))).toEqual(['Service', 'Dep', 1, 'lazy', 42]);
  });

  it('maps a stack back to the TypeScript source', async () => {
    write(
      'src/main.ts',
      `\n\ninterface Gone { a: string }\nconst fail = (): never => { throw new Error('x'); };\ntry { fail(); } catch (e) { console.log((e as Error).stack); }\nexport type { Gone };`,
    );
    await buildProject(root);
    expect(run('dist/main.js')).toContain(`${join('src', 'main.ts')}:4`);
  });

  it('leaves specs out and copies what is not TypeScript', async () => {
    write('src/a.ts', 'export const a = 1;');
    write('src/a.spec.ts', 'throw new Error();');
    write('src/a.int-spec.ts', 'throw new Error();');
    write('src/migrations/0001.sql', 'select 1;');
    const { written } = await buildProject(root);
    expect([...written].sort()).toEqual(['a.js', 'a.js.map', 'migrations/0001.sql']);
    expect(readFileSync(join(root, 'dist/migrations/0001.sql'), 'utf8')).toBe('select 1;');
  });

  it('touches nothing when nothing changed, and then only what did', async () => {
    write('src/a.ts', 'export const a = 1;');
    write('src/b.ts', 'export const b = 1;');
    await buildProject(root);
    const before = statSync(join(root, 'dist/b.js')).mtimeMs;

    expect(await buildProject(root)).toMatchObject({ unchanged: true, written: [], removed: [] });

    write('src/a.ts', 'export const a = 2;');
    const second = await buildProject(root);
    expect(second).toMatchObject({ unchanged: false, written: ['a.js', 'a.js.map'] });
    expect(statSync(join(root, 'dist/b.js')).mtimeMs).toBe(before);
    expect(readFileSync(join(root, 'dist/a.js'), 'utf8')).toContain('a = 2');
  });

  it('makes lost output again, and deletes output whose source is gone', async () => {
    write('src/a.ts', 'export const a = 1;');
    write('src/old/b.ts', 'export const b = 1;');
    await buildProject(root);
    rmSync(join(root, 'dist/a.js'));
    rmSync(join(root, 'src/old'), { recursive: true });

    const result = await buildProject(root);
    expect(result.written).toEqual(['a.js', 'a.js.map']);
    expect([...result.removed].sort()).toEqual(['old/b.js', 'old/b.js.map']);
    expect(existsSync(join(root, 'dist/old'))).toBe(false);
  });

  it('names the file that does not compile, and does not take it for built the next time', async () => {
    write('src/a.ts', 'export const a = 1;');
    await buildProject(root);
    write('src/a.ts', 'export const = ;');
    await expect(buildProject(root)).rejects.toThrow(BuildError);
    await expect(buildProject(root)).rejects.toThrow(join(root, 'src/a.ts'));
  });

  it('gives the same output when two builds run at once', async () => {
    for (let i = 0; i < 20; i++) write(`src/f${String(i)}.ts`, `export const f: number = ${String(i)};`);
    await Promise.all([buildAll([root]), buildAll([root])]);
    expect(await buildProject(root)).toMatchObject({ unchanged: true });
    expect(readFileSync(join(root, 'dist/f7.js'), 'utf8')).toContain('f = 7');
  });

  it('says that a project without sources is none', async () => {
    await expect(buildProject(root)).rejects.toThrow('only projects with src/ are built');
  });
});

describe('findBuildableProjects', () => {
  it('finds what runs from dist/, and nothing else', () => {
    const found = findBuildableProjects(WORKSPACE_ROOT);
    expect(found).toContain(join(WORKSPACE_ROOT, 'libs/kernel'));
    expect(found).toContain(join(WORKSPACE_ROOT, 'libs/contracts/protocol'));
    expect(found).not.toContain(join(WORKSPACE_ROOT, 'tools/nx-flotilla'));
  });
});
