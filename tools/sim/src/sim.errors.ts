import { FlotillaError } from '@flotilla/kernel';

/** Thrown when the command line of the simulator makes no sense. Code `SIM_USAGE`. */
export class SimUsageError extends FlotillaError {
  constructor(message: string) {
    super('SIM_USAGE', message, { retry: 'never' });
  }
}

/** Thrown when a process that simulates ended by itself. Code `SIM_WORKER_FAILED`. */
export class WorkerFailedError extends FlotillaError {
  constructor(seed: number | undefined, how: string) {
    super(
      'SIM_WORKER_FAILED',
      `A simulating process ended ${how}${seed === undefined ? '' : ` in seed ${seed}: replay it with npm run sim -- --seed ${seed} --trace`}`,
      { retry: 'never' },
    );
  }
}
