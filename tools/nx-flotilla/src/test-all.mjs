// `npm test`: everything that must pass, stage by stage, with the time each took and the true test counts.
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';

const WORKSPACE_ROOT = join(import.meta.dirname, '../../..');
const BIN = join(WORKSPACE_ROOT, 'node_modules/.bin');
const RESULTS = join(WORKSPACE_ROOT, '.cache/test-results');

/**
 * @param {string} target
 * @param {number} parallel
 * @returns {readonly [string, ...string[]]}
 */
const nx = (target, parallel) => [
  'node_modules/nx/dist/bin/nx.js',
  'run-many',
  '-t',
  target,
  `--parallel=${String(parallel)}`,
  '--output-style=static',
  '--nxBail=false',
];

/**
 * @param {...string} args
 * @returns {readonly [string, ...string[]]}
 */
const fleet = (...args) => ['--conditions=@flotilla/source', 'tools/fleet/src/main.ts', ...args];

/** @type {ReadonlyArray<{ name: string, argv: readonly [string, ...string[]] }>} */
const STAGES = [
  { name: 'format', argv: ['node_modules/prettier/bin/prettier.cjs', '--check', '--log-level=warn', '.'] },
  { name: 'contracts', argv: fleet('contracts', 'check') },
  { name: 'reference', argv: fleet('contracts', 'docs', '--check') },
  { name: 'lint', argv: nx('lint', 2) },
  { name: 'typecheck', argv: nx('typecheck', 2) },
  { name: 'build', argv: nx('build', 2) },
  { name: 'unit', argv: nx('test', 2) },
  { name: 'docs', argv: fleet('saga', 'diagram', '--check') },
  { name: 'integration', argv: nx('test-int', 1) },
  { name: 'e2e', argv: nx('e2e', 1) },
];

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !STAGES.some((stage) => stage.name === name));
if (unknown.length > 0) {
  process.stderr.write(
    `There is no stage ${unknown.join(', ')}; the stages are ${STAGES.map((stage) => stage.name).join(', ')}\n`,
  );
  process.exit(2);
}
const stages = wanted.length > 0 ? STAGES.filter((stage) => wanted.includes(stage.name)) : STAGES;

rmSync(RESULTS, { recursive: true, force: true });
const summary = stages.map((stage) => {
  process.stdout.write(`\n== ${stage.name}\n`);
  const started = performance.now();
  const { status, signal, error } = spawnSync(process.execPath, stage.argv, {
    cwd: WORKSPACE_ROOT,
    stdio: 'inherit',
    env: {
      ...process.env,
      PATH: [BIN, process.env['PATH']].join(delimiter),
      // A captured run is read later: no colours, no cursor movements.
      ...(process.stdout.isTTY ? {} : { NO_COLOR: '1', FORCE_COLOR: '0' }),
    },
  });
  if (error) process.stderr.write(`Cannot start stage ${stage.name}: ${error.message}\n`);
  if (signal) process.exit(130);
  return { ...stage, ok: status === 0, seconds: (performance.now() - started) / 1000 };
});

const counts = globSync('**/*.json', { cwd: RESULTS })
  .map((file) => JSON.parse(readFileSync(join(RESULTS, file), 'utf8')))
  .reduce(
    (sum, result) => ({
      passed: sum.passed + result.passed,
      failed: sum.failed + result.failed,
      skipped: sum.skipped + result.skipped,
    }),
    { passed: 0, failed: 0, skipped: 0 },
  );

process.stdout.write('\n');
for (const { name, ok, seconds } of summary) {
  process.stdout.write(
    `${ok ? 'ok    ' : 'FAILED'}  ${name.padEnd(12)} ${seconds.toFixed(1).padStart(7)} s\n`,
  );
}
const skipped = counts.skipped > 0 ? `, ${String(counts.skipped)} skipped` : '';
process.stdout.write(`${String(counts.passed)} passed, ${String(counts.failed)} failed${skipped}\n`);
process.exitCode = summary.every((stage) => stage.ok) ? 0 : 1;
