import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { errorMessage } from '@flotilla/kernel';
import { packageVersion } from '../machine.ts';
import { workspaceRoot } from '../workspace.ts';

/** What a peer needs, in exact versions; nothing of it is a dependency of the product. */
export const peerPackages = {
  dbos: { '@dbos-inc/dbos-sdk': '5.3.0' },
  // Its NATS transporter wants the client of that time.
  moleculer: { moleculer: '0.15.2', nats: '2.29.3' },
} as const satisfies Readonly<Record<string, Readonly<Record<string, string>>>>;

export type Peer = keyof typeof peerPackages;

/** A folder with the peer's packages, or why there is none. */
export type PeerFolder = { readonly folder: string } | { readonly problem: string };

const INSTALL_TIMEOUT_MS = 300_000;

/** Installs a peer into a cache folder of its own, once. A registry that refuses is told, and is no failure. */
export async function installPeer(peer: Peer, note: (text: string) => void): Promise<PeerFolder> {
  const packages: Readonly<Record<string, string>> = peerPackages[peer];
  const folder = join(workspaceRoot, '.cache/bench/peers', peer);
  if (isInstalled(folder, packages)) return { folder };
  const specs = Object.entries(packages).map(([name, version]) => `${name}@${version}`);
  note(`Installing ${specs.join(', ')} into ${folder}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  try {
    // No install scripts: none of these needs one.
    await promisify(execFile)(
      'npm',
      [
        'install',
        '--save-exact',
        '--ignore-scripts',
        '--no-audit',
        '--no-fund',
        '--prefix',
        folder,
        ...specs,
      ],
      { cwd: folder, timeout: INSTALL_TIMEOUT_MS },
    );
    return { folder };
  } catch (error) {
    const [firstLine = ''] = errorMessage(error)
      .split('\n')
      .filter((line) => line.includes('npm error'));
    return {
      problem: `${peer} could not be installed, so it was not measured (${firstLine || errorMessage(error)})`,
    };
  }
}

/** Names and versions of what a peer consists of. */
export function peerVersions(peer: Peer): string {
  return Object.entries(peerPackages[peer])
    .map(([name, version]) => `${name} ${version}`)
    .join(' with ');
}

function isInstalled(folder: string, packages: Readonly<Record<string, string>>): boolean {
  return Object.entries(packages).every(([name, version]) => {
    const installed = join(folder, 'node_modules', name);
    return existsSync(join(installed, 'package.json')) && packageVersion(installed) === version;
  });
}
