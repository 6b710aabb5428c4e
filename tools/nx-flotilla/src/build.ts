import { createHash, randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { createRequire } from 'node:module';
import type { JscConfig, Options } from '@swc/core';

/** What one build did. Paths are relative to the project's `dist/`. */
export interface BuildResult {
  /** The project's folder, absolute. */
  readonly root: string;
  /** Files compiled or copied in this run. */
  readonly written: readonly string[];
  /** Output that no source stands for any more, and that this run deleted. */
  readonly removed: readonly string[];
  /** True when `dist/` already was what the sources ask for, so that nothing was touched. */
  readonly unchanged: boolean;
}

/** Thrown when a project cannot be built; the message names the file and says why. */
export class BuildError extends Error {
  readonly code = 'FLOTILLA_BUILD_FAILED';
  readonly file: string;

  constructor(file: string, reason: string, options?: ErrorOptions) {
    super(`Cannot build ${file}: ${reason}`, options);
    this.name = 'BuildError';
    this.file = file;
  }
}

/** `dist/` remembers here which source content each output was made from. */
const STAMP_FILE = '.build.json';

interface Stamp {
  /** Compiler version and options: another recipe rebuilds everything. */
  readonly recipe: string;
  /** Source path relative to `src/` -> content hash. */
  readonly sources: Readonly<Record<string, string>>;
}

const COMPILED = /(?<!\.d)\.(?:ts|tsx|mts)$/;
const LEFT_OUT = /\.(?:int-spec|e2e-spec|spec)\.(?:ts|tsx|mts)$|\.d\.[cm]?ts$|\.snap$|(?:^|\/)\.[^/]*$/;

/** How a file is called until it is complete. */
const TEMPORARY = '.unfinished';

/** Sources in flight at once; SWC compiles on its own threads, so more only costs memory. */
const CONCURRENCY = 16;

/**
 * Compiles `src/` of one project to `dist/`, file by file: TypeScript through SWC (decorators, their metadata,
 * class names and source maps kept, `.ts` import endings rewritten to `.js`), everything else copied, specs left
 * out. Only files whose content changed are compiled again; output without a source is deleted. Each file is
 * replaced atomically, so a service that runs from `dist/` and a second build at the same time do no harm.
 * @throws BuildError when a source does not compile.
 */
export async function buildProject(root: string): Promise<BuildResult> {
  const projectRoot = resolve(root);
  const sourceDir = join(projectRoot, 'src');
  const outputDir = join(projectRoot, 'dist');
  if (!existsSync(sourceDir))
    throw new BuildError(sourceDir, 'there is no such folder; only projects with src/ are built');

  const [sources, outputs] = await Promise.all([readSources(sourceDir), listFiles(outputDir)]);
  const present = new Set(outputs);
  const previous = readStamp(outputDir);
  const expected = new Set<string>([STAMP_FILE]);
  const stale: Source[] = [];
  for (const source of sources) {
    const products = outputsOf(source.path);
    for (const product of products) expected.add(product);
    const fresh =
      previous?.sources[source.path] === source.hash && products.every((path) => present.has(path));
    if (!fresh) stale.push(source);
  }
  // Another build may be writing at this moment: its unfinished files are its own.
  const removed = outputs.filter((path) => !expected.has(path) && !path.endsWith(TEMPORARY));
  if (stale.length === 0 && removed.length === 0 && previous !== undefined) {
    return { root: projectRoot, written: [], removed: [], unchanged: true };
  }

  await eachOf(stale, (source) => produce(source, sourceDir, outputDir));
  await removeOutputs(outputDir, removed);
  const stamp: Stamp = {
    recipe: RECIPE,
    sources: Object.fromEntries(sources.map((source) => [source.path, source.hash])),
  };
  await replaceFile(join(outputDir, STAMP_FILE), JSON.stringify(stamp));
  return {
    root: projectRoot,
    written: stale.flatMap((source) => outputsOf(source.path)),
    removed,
    unchanged: false,
  };
}

/** Builds several projects; the order does not matter, because each file is compiled by itself. */
export async function buildAll(roots: readonly string[]): Promise<BuildResult[]> {
  const results: BuildResult[] = [];
  for (const root of roots) results.push(await buildProject(root));
  return results;
}

/**
 * The folders (absolute) of all workspace packages that run from `dist/`: those with a `src/` whose package.json
 * exports something from `./dist/`, and deployables, which have a `src/main.ts`.
 */
export function findBuildableProjects(workspaceRoot: string): string[] {
  const { workspaces = [] } = JSON.parse(readFileSync(join(workspaceRoot, 'package.json'), 'utf8')) as {
    workspaces?: string[];
  };
  return globSync(
    workspaces.map((pattern) => `${pattern}/package.json`),
    { cwd: workspaceRoot },
  )
    .map((path) => join(workspaceRoot, dirname(path)))
    .filter(isBuildable)
    .sort();
}

/** Whether a project's output is used: see `findBuildableProjects`. */
function isBuildable(root: string): boolean {
  if (!existsSync(join(root, 'src'))) return false;
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports?: unknown };
  return (
    existsSync(join(root, 'src/main.ts')) || JSON.stringify(manifest.exports ?? null).includes('"./dist/')
  );
}

/** The published types do not know this option yet; the compiler and the tests here do. */
type SwcOptions = Options & { jsc: JscConfig & { rewriteRelativeImportExtensions: boolean } };

interface Source {
  readonly path: string;
  readonly content: Buffer;
  readonly hash: string;
}

async function readSources(sourceDir: string): Promise<Source[]> {
  const paths = (await listFiles(sourceDir)).filter((path) => !LEFT_OUT.test(path)).sort();
  return Promise.all(
    paths.map(async (path) => {
      const content = await readFile(join(sourceDir, path));
      return { path, content, hash: createHash('sha1').update(content).digest('base64url') };
    }),
  );
}

function outputsOf(path: string): string[] {
  if (!COMPILED.test(path)) return [path];
  const compiled = compiledName(path);
  return [compiled, `${compiled}.map`];
}

function compiledName(path: string): string {
  return path.replace(/\.mts$/, '.mjs').replace(/\.tsx?$/, '.js');
}

async function produce(source: Source, sourceDir: string, outputDir: string): Promise<void> {
  const file = join(sourceDir, source.path);
  const target = join(outputDir, outputsOf(source.path)[0] ?? source.path);
  await mkdir(dirname(target), { recursive: true });
  if (!COMPILED.test(source.path)) {
    await replaceFile(target, source.content);
    return;
  }
  const { code, map } = await compile(source, file, target);
  if (map === undefined) throw new BuildError(file, 'the compiler gave no source map');
  const mapName = `${target.slice(target.lastIndexOf(sep) + 1)}.map`;
  await replaceFile(`${target}.map`, map);
  await replaceFile(target, `${code.trimEnd()}\n//# sourceMappingURL=${mapName}\n`);
}

async function compile(
  source: Source,
  file: string,
  target: string,
): Promise<{ code: string; map?: string }> {
  // Loaded on first use: an unchanged build does not pay for starting the compiler.
  const swc = await import('@swc/core');
  try {
    return await swc.transform(source.content.toString('utf8'), {
      ...compilerOptions(source.path.endsWith('x')),
      filename: file,
      sourceFileName: relative(dirname(target), file).replaceAll(sep, '/'),
    });
  } catch (error) {
    throw new BuildError(file, error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function compilerOptions(tsx: boolean): SwcOptions {
  return {
    configFile: false,
    swcrc: false,
    sourceMaps: true,
    inlineSourcesContent: false,
    jsc: {
      target: 'es2023',
      parser: { syntax: 'typescript', decorators: true, tsx },
      transform: {
        legacyDecorator: true,
        decoratorMetadata: true,
        useDefineForClassFields: true,
        verbatimModuleSyntax: true,
        ...(tsx ? { react: { runtime: 'automatic' } } : {}),
      },
      keepClassNames: true,
      rewriteRelativeImportExtensions: true,
      experimental: { keepImportAttributes: true },
    },
    module: { type: 'es6' },
  };
}

const RECIPE = createHash('sha1')
  .update(readFileSync(createRequire(import.meta.url).resolve('@swc/core/package.json')))
  .update(JSON.stringify([compilerOptions(false), compilerOptions(true)]))
  .digest('base64url');

function readStamp(outputDir: string): Stamp | undefined {
  const path = join(outputDir, STAMP_FILE);
  if (!existsSync(path)) return undefined;
  const stamp = JSON.parse(readFileSync(path, 'utf8')) as Stamp;
  return stamp.recipe === RECIPE ? stamp : undefined;
}

/** All files below a folder, relative to it with forward slashes; none when the folder does not exist. */
async function listFiles(folder: string): Promise<string[]> {
  if (!existsSync(folder)) return [];
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll(sep, '/'));
}

async function replaceFile(path: string, content: string | Buffer): Promise<void> {
  const temporary = `${path}.${randomUUID()}${TEMPORARY}`;
  await writeFile(temporary, content);
  await rename(temporary, path);
}

async function removeOutputs(outputDir: string, paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await rm(join(outputDir, path), { force: true });
    await removeEmptyFolders(outputDir, dirname(path));
  }
}

async function removeEmptyFolders(outputDir: string, folder: string): Promise<void> {
  for (let path = folder; path !== '.'; path = dirname(path)) {
    const absolute = join(outputDir, path);
    if (!existsSync(absolute) || (await readdir(absolute)).length > 0) return;
    await rmdir(absolute);
  }
}

async function eachOf<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) await work(item);
  };
  await Promise.all(Array.from({ length: Math.min(CONCURRENCY, items.length) }, worker));
}

if (import.meta.main) {
  const workspaceRoot = resolve(import.meta.dirname, '../../..');
  const named = process.argv.slice(2);
  const roots = named.length > 0 ? named : findBuildableProjects(workspaceRoot);
  try {
    const started = performance.now();
    const results = await buildAll(roots);
    const written = results.reduce((sum, result) => sum + result.written.length, 0);
    const removed = results.reduce((sum, result) => sum + result.removed.length, 0);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    process.stdout.write(
      `${String(results.length)} project(s): ${String(written)} file(s) written, ${String(removed)} removed in ${seconds} s\n`,
    );
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
