// `npm run security`: every test of who may do what, topic by topic, with the number of tests that each rests on. The
// same tests are part of `npm test`.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

const WORKSPACE_ROOT = join(import.meta.dirname, '../../..');
const BIN = join(WORKSPACE_ROOT, 'node_modules/.bin');

/** @type {ReadonlyArray<{ topic: string, in: Readonly<Record<string, readonly string[]>> }>} */
const TOPICS = [
  {
    topic: 'what each user of the broker may do, and what not',
    in: {
      'libs/messaging': ['test/permissions.int-spec.ts'],
      'tools/fleet': ['test/permissions.int-spec.ts', 'test/nats-config.int-spec.ts'],
    },
  },
  {
    topic: "each service's role in Postgres",
    in: { 'libs/persistence': ['test/application-role.int-spec.ts'] },
  },
  {
    topic: 'TLS to the broker',
    in: {
      'libs/messaging': ['test/tls.int-spec.ts'],
      'libs/service': ['test/tls.int-spec.ts'],
      'tools/fleet': ['test/tls.int-spec.ts'],
    },
  },
  {
    topic: 'every route, as every kind of caller',
    in: { 'apps/gateway': ['test/authorisation.int-spec.ts', 'test/access.int-spec.ts'] },
  },
  {
    topic: 'issuers of tokens and their keys',
    in: { 'apps/gateway': ['test/issuers.int-spec.ts', 'src/.*remote-keys.spec.ts'] },
  },
  {
    topic: 'one idempotency key is one order, also across crashes',
    in: {
      'apps/gateway': ['test/idempotency.int-spec.ts'],
      'apps/fleet-e2e': ['test/edge.e2e-spec.ts'],
    },
  },
  {
    topic: 'limits, and requests that are none',
    in: { 'apps/gateway': ['test/limits.int-spec.ts', 'test/bad-requests.int-spec.ts'] },
  },
  {
    topic: "operators' acts over HTTP",
    in: { 'tools/fleet': ['test/operator-http.int-spec.ts'] },
  },
  {
    topic: 'card numbers, addresses and tokens show nowhere',
    in: { 'apps/fleet-e2e': ['test/canaries.e2e-spec.ts'] },
  },
  {
    topic: 'the HTTP API, fuzzed from its own document',
    in: { 'apps/fleet-e2e': ['test/fuzz.e2e-spec.ts'] },
  },
];

const NODE = [
  '--experimental-vm-modules',
  '--conditions=@flotilla/source',
  '--disable-warning=ExperimentalWarning',
];

/**
 * @param {readonly string[]} argv
 * @returns {boolean}
 */
function run(argv) {
  const { status, signal, error } = spawnSync(process.execPath, argv, {
    cwd: WORKSPACE_ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: {
      ...process.env,
      PATH: [BIN, process.env['PATH']].join(delimiter),
      ...(process.stdout.isTTY ? {} : { NO_COLOR: '1', FORCE_COLOR: '0' }),
    },
  });
  if (error) process.stderr.write(`${argv.join(' ')} cannot be started: ${error.message}\n`);
  if (signal) process.exit(130);
  return status === 0;
}

/**
 * The tests of some files of a project.
 *
 * @param {string} project
 * @param {readonly string[]} files
 * @param {string} folder where its counts may be written
 */
function test(project, files, folder) {
  const counts = join(folder, `${project.replaceAll('/', '-')}-${String(performance.now())}.json`);
  const ok = run([
    ...NODE,
    'node_modules/jest/bin/jest.js',
    '-c',
    `${project}/jest.config.mjs`,
    '-i',
    '--json',
    `--outputFile=${counts}`,
    '--testPathPatterns',
    ...files.map((file) => `${project}/${file}$`),
  ]);
  try {
    const { numPassedTests, numFailedTests, numRuntimeErrorTestSuites, numTotalTestSuites } = JSON.parse(
      readFileSync(counts, 'utf8'),
    );
    return {
      // A file that is no longer there must not pass unseen.
      ok: ok && numTotalTestSuites >= files.length,
      passed: numPassedTests,
      failed: numFailedTests + numRuntimeErrorTestSuites + Math.max(0, files.length - numTotalTestSuites),
    };
  } catch {
    return { ok: false, passed: 0, failed: 1 };
  }
}

process.stdout.write('\n== build\n');
if (!run(['node_modules/nx/dist/bin/nx.js', 'run-many', '-t', 'build', '--output-style=static']))
  process.exit(1);

const folder = mkdtempSync(join(tmpdir(), 'flotilla-security-'));
const summary = TOPICS.map(({ topic, in: projects }) => {
  process.stdout.write(`\n== ${topic}\n`);
  const started = performance.now();
  const results = Object.entries(projects).map(([project, files]) => test(project, files, folder));
  return {
    topic,
    ok: results.every(({ ok }) => ok),
    passed: results.reduce((sum, { passed }) => sum + passed, 0),
    failed: results.reduce((sum, { failed }) => sum + failed, 0),
    seconds: (performance.now() - started) / 1000,
  };
});
rmSync(folder, { recursive: true, force: true });

process.stdout.write('\n');
for (const { topic, ok, passed, failed, seconds } of summary) {
  const tests = `${String(passed)} passed${failed > 0 ? `, ${String(failed)} failed` : ''}`;
  process.stdout.write(
    `${ok ? 'ok    ' : 'FAILED'}  ${topic.padEnd(56)} ${tests.padStart(12)} ${seconds.toFixed(1).padStart(6)} s\n`,
  );
}
const [passed, failed] = [
  summary.reduce((sum, each) => sum + each.passed, 0),
  summary.reduce((sum, each) => sum + each.failed, 0),
];
process.stdout.write(`${String(passed)} passed, ${String(failed)} failed\n`);
process.exitCode = summary.every(({ ok }) => ok) ? 0 : 1;
