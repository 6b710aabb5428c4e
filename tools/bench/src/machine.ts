import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, platform, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { workspaceRoot } from './workspace.ts';

/** What a figure was measured on. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  /** Of the last minute, when the benchmark began: others' work on the machine. */
  readonly loadBefore: number;
  readonly commit: string;
  /** Whether the checkout differs from its commit. */
  readonly dirty: boolean;
  readonly versions: Readonly<Record<string, string>>;
}

/** The packages whose versions matter to the figures. */
const PACKAGES = [
  '@nats-io/transport-node',
  '@nats-io/jetstream',
  '@nestjs/core',
  '@nestjs/cqrs',
  '@nestjs/microservices',
  'fastify',
  'pg',
  'typeorm',
  'zod',
];

/** Describes this machine and checkout; `servers` are the versions of what runs beside Node. */
export function describeMachine(servers: Readonly<Record<string, string>>): Machine {
  const packages = PACKAGES.map((name) => [name, packageVersion(join(workspaceRoot, 'node_modules', name))]);
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown processor',
    cores: cpus().length,
    memoryBytes: totalmem(),
    system: `${platform()} ${release()}`,
    loadBefore: loadavg()[0] ?? 0,
    commit: git('rev-parse', '--short=12', 'HEAD') ?? 'unknown',
    dirty: git('status', '--porcelain', '--untracked-files=no') !== '',
    versions: {
      node: process.versions.node,
      ...servers,
      ...(Object.fromEntries(packages) as Record<string, string>),
    },
  };
}

/** The version of the package in a folder. */
export function packageVersion(folder: string): string {
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}

/** Undefined in a copy without its history. */
function git(...args: string[]): string | undefined {
  try {
    return execFileSync('git', args, {
      cwd: workspaceRoot,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined;
  }
}
