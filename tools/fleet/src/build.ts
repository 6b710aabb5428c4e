import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findBuildableProjects } from '@flotilla/nx-flotilla/build';
import type { Service } from './services.ts';
import { workspaceRoot } from './workspace.ts';

export interface BuildSummary {
  readonly projects: number;
  readonly written: number;
}

/** Builds services and every workspace package that they use. Only what changed is compiled. */
export async function buildServices(services: readonly Service[]): Promise<BuildSummary> {
  const { buildAll } = await import('@flotilla/nx-flotilla/build');
  const results = await buildAll(projectsOf(services));
  return {
    projects: results.length,
    written: results.reduce((sum, { written }) => sum + written.length, 0),
  };
}

/** The folders of services and of the workspace packages that they use, directly or not. */
export function projectsOf(services: readonly Service[]): string[] {
  const buildable = new Map(
    findBuildableProjects(workspaceRoot).map((folder) => [readManifest(folder).name, folder] as const),
  );
  const folders = new Set<string>();
  const visit = (folder: string): void => {
    if (folders.has(folder)) return;
    folders.add(folder);
    for (const name of Object.keys(readManifest(folder).dependencies ?? {})) {
      const dependency = buildable.get(name);
      if (dependency !== undefined) visit(dependency);
    }
  };
  for (const { folder } of services) visit(folder);
  return [...folders].sort();
}

interface PackageManifest {
  readonly name: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

function readManifest(folder: string): PackageManifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as PackageManifest;
}
