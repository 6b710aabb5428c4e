import { FlotillaError } from '@flotilla/kernel';

/** Thrown when the command line asks for something that there is not. */
export class BenchUsageError extends FlotillaError {
  constructor(message: string) {
    super('BENCH_USAGE', message, { retry: 'never' });
  }
}

/** Thrown when a benchmark's work was not done, or done twice: its figures would mean nothing. */
export class BenchCountError extends FlotillaError {
  readonly benchmark: string;

  constructor(benchmark: string, message: string) {
    super('BENCH_COUNT', `${benchmark}: ${message}; there are no figures of a run that does not add up`, {
      retry: 'never',
    });
    this.benchmark = benchmark;
  }
}

/** Thrown when a process that the benchmark started did not become ready, or ended. */
export class BenchProcessError extends FlotillaError {
  constructor(name: string, what: string, lastLines: readonly string[]) {
    const lines = lastLines.length === 0 ? 'it wrote nothing' : `its last lines:\n${lastLines.join('\n')}`;
    super('BENCH_PROCESS', `${name} ${what}; ${lines}`, { retry: 'never' });
  }
}
