// Adds to package-lock.json the platform packages that `npm install` left out because the registry in use does not
// serve them (mirrors often carry only the platforms of their users). Without these entries `npm ci` stops with
// "Missing: ... from lock file". They carry no integrity: npm fetches one only on a machine of its platform.
//   node tools/nx-flotilla/src/complete-lock.mjs          after each `npm install` that changed the lock file
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/**
 * @typedef {{
 *   version?: string, optional?: boolean, dev?: boolean, os?: string[], cpu?: string[], libc?: string[],
 *   optionalDependencies?: Record<string, string>,
 * }} LockEntry
 */

const OS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'openharmony', 'sunos', 'win32'];
const CPU = ['arm64', 'arm', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64'];
const EXACT = /^\d+\.\d+\.\d+(?:[-+][\w.+-]+)?$/;

/**
 * The entries that are missing in a lock file's `packages`: optional dependencies with an exact version that are
 * named after a platform.
 *
 * @param {Readonly<Record<string, LockEntry>>} packages
 * @returns {Record<string, LockEntry>}
 */
export function missingPlatformPackages(packages) {
  /** @type {Record<string, LockEntry>} */
  const missing = {};
  for (const [path, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      const platform = platformOf(name);
      if (platform === undefined || !EXACT.test(version) || isLocked(packages, path, name)) continue;
      missing[`node_modules/${name}`] = {
        version,
        cpu: platform.cpu,
        ...(entry.dev ? { dev: true } : {}),
        optional: true,
        os: platform.os,
      };
    }
  }
  return missing;
}

/**
 * @param {string} name
 * @returns {{ os: string[], cpu: string[] } | undefined}
 */
function platformOf(name) {
  const words = name.split(/[^a-z0-9]+/);
  const os = OS.find((one) => words.includes(one));
  const cpu = CPU.find((one) =>
    words.some((word) => word === one || (one === 'arm' && word.startsWith('armv'))),
  );
  return os === undefined || cpu === undefined ? undefined : { os: [os], cpu: [cpu] };
}

/**
 * @param {Readonly<Record<string, LockEntry>>} packages
 * @param {string} from the dependent's path in the lock file
 * @param {string} name
 */
function isLocked(packages, from, name) {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    if (packages[join(at, 'node_modules', name)] !== undefined) return true;
    if (!at.includes('/node_modules/')) return packages[`node_modules/${name}`] !== undefined;
  }
}

if (import.meta.main) {
  const file = join(process.argv[2] ?? join(dirname(import.meta.filename), '../../..'), 'package-lock.json');
  const lock = JSON.parse(readFileSync(file, 'utf8'));
  const missing = missingPlatformPackages(lock.packages);
  const sorted = Object.entries({ ...lock.packages, ...missing }).sort(([a], [b]) =>
    a.localeCompare(b, 'en'),
  );
  lock.packages = Object.fromEntries(sorted);
  if (Object.keys(missing).length > 0) writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
  process.stdout.write(`${String(Object.keys(missing).length)} platform package(s) added to ${file}\n`);
}
