import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const WORKSPACE_ROOT = join(import.meta.dirname, '../../..');

/**
 * A Jest reporter that leaves the true counts of a run where `npm test` adds them up:
 * `.cache/test-results/<project folder>/<target>.json`. It writes only in an Nx task; the file is an output of
 * that task, so that a result from the cache brings its counts along.
 */
export default class JestCounts {
  /** @param {import('@jest/types').Config.GlobalConfig} globalConfig */
  constructor(globalConfig) {
    this.project = relative(WORKSPACE_ROOT, globalConfig.rootDir);
  }

  /**
   * @param {unknown} _contexts
   * @param {import('@jest/test-result').AggregatedResult} results
   */
  onRunComplete(_contexts, results) {
    const target = process.env['NX_TASK_TARGET_TARGET'];
    if (target === undefined) return;
    const file = join(WORKSPACE_ROOT, '.cache/test-results', this.project, `${target}.json`);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(
      file,
      JSON.stringify({
        passed: results.numPassedTests,
        // A file that does not even load counts as one failure.
        failed: results.numFailedTests + results.numRuntimeErrorTestSuites,
        skipped: results.numPendingTests + results.numTodoTests,
      }),
    );
  }
}
