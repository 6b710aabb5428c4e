import { cpSync, existsSync, globSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { BuildError, buildAll } from './build.ts';

/** What a service needs at run time, as put together by `assembleService`. */
export interface Assembly {
  /** The workspace packages copied, the service's own first. */
  readonly packages: readonly string[];
}

interface WorkspacePackage {
  readonly name: string;
  readonly root: string;
  readonly dependencies: readonly string[];
}

/**
 * Builds a service with the workspace packages it depends on and copies only their `package.json` and `dist/` to a
 * folder, in the layout of the workspace, linked to each other below `node_modules`. Third-party packages are not
 * copied: put `node_modules` of a production install beside it.
 * @throws BuildError when there is no such app, or when a package imports another that its package.json does not
 * list (it would be missing at run time).
 */
export async function assembleService(
  workspaceRoot: string,
  service: string,
  target: string,
): Promise<Assembly> {
  const packages = readWorkspace(workspaceRoot);
  const root = join('apps', service);
  const app = [...packages.values()].find((candidate) => candidate.root === root);
  if (app === undefined) {
    throw new BuildError(join(workspaceRoot, root), 'there is no such app; name a folder below apps/');
  }

  const needed = closure(app, packages);
  await buildAll(needed.map((one) => join(workspaceRoot, one.root)));
  const names = new Set(needed.map((one) => one.name));
  for (const one of needed) assertImportsListed(workspaceRoot, one, names);

  rmSync(target, { recursive: true, force: true });
  for (const one of needed) {
    for (const part of ['package.json', 'dist']) {
      cpSync(join(workspaceRoot, one.root, part), join(target, one.root, part), { recursive: true });
    }
    const link = join(target, 'node_modules', one.name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(relative(dirname(link), join(target, one.root)), link);
  }
  return { packages: needed.map((one) => one.name) };
}

function readWorkspace(workspaceRoot: string): Map<string, WorkspacePackage> {
  const { workspaces = [] } = readJson(join(workspaceRoot, 'package.json'));
  const manifests = globSync(
    workspaces.map((pattern) => `${pattern}/package.json`),
    { cwd: workspaceRoot },
  );
  return new Map(
    manifests.map((manifest) => {
      const { name = manifest, dependencies = {} } = readJson(join(workspaceRoot, manifest));
      return [name, { name, root: dirname(manifest), dependencies: Object.keys(dependencies) }];
    }),
  );
}

function closure(app: WorkspacePackage, packages: ReadonlyMap<string, WorkspacePackage>): WorkspacePackage[] {
  const found = new Set([app]);
  for (const one of found) {
    for (const name of one.dependencies) {
      const dependency = packages.get(name);
      if (dependency) found.add(dependency);
    }
  }
  return [...found];
}

/** A package that is used but not listed would work here and be missing in the image. */
function assertImportsListed(
  workspaceRoot: string,
  one: WorkspacePackage,
  listed: ReadonlySet<string>,
): void {
  for (const file of globSync('dist/**/*.{js,mjs}', { cwd: join(workspaceRoot, one.root) })) {
    const code = readFileSync(join(workspaceRoot, one.root, file), 'utf8');
    for (const [, name = ''] of code.matchAll(/(?:from|import\(?)\s*['"](@flotilla\/[\w-]+)/g)) {
      if (listed.has(name)) continue;
      throw new BuildError(
        join(workspaceRoot, one.root, file),
        `it imports ${name}; list ${name} in the dependencies of ${one.root}/package.json`,
      );
    }
  }
}

function readJson(path: string): {
  workspaces?: string[];
  name?: string;
  dependencies?: Record<string, string>;
} {
  if (!existsSync(path)) throw new BuildError(path, 'there is no such file');
  return JSON.parse(readFileSync(path, 'utf8')) as ReturnType<typeof readJson>;
}

if (import.meta.main) {
  const [service, target] = process.argv.slice(2);
  if (service === undefined || target === undefined) {
    process.stderr.write('usage: node tools/nx-flotilla/src/assemble.ts <service> <target folder>\n');
    process.exit(2);
  }
  try {
    const { packages } = await assembleService(
      resolve(import.meta.dirname, '../../..'),
      service,
      resolve(target),
    );
    process.stdout.write(`${packages.join('\n')}\n`);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  }
}
