import type { BackoffOptions } from '@flotilla/kernel';
import type { ConsumeOptions } from './broker.ts';
import type { KillSwitchOptions } from './kill-switch.ts';
import { InvalidMessagingOptionsError } from './messaging.errors.ts';

/** {@link ConsumeOptions} with every default filled in. */
export type ResolvedConsumeOptions = Required<Omit<ConsumeOptions, 'onDeadLetter'>> &
  Pick<ConsumeOptions, 'onDeadLetter'>;

const defaultBackoff: BackoffOptions = { initialMs: 250, maxMs: 30_000 };

/** Defaults and checks of {@link ConsumeOptions}; all problems are in one error. */
export function resolveConsumeOptions(
  consumer: string,
  service: string,
  input: ConsumeOptions,
): ResolvedConsumeOptions {
  const options: ResolvedConsumeOptions = {
    service: input.service ?? service,
    maxInFlight: input.maxInFlight ?? 64,
    maxAttempts: input.maxAttempts ?? 6,
    backoff: input.backoff ?? defaultBackoff,
    ordered: input.ordered ?? false,
    stalledAfterMs: input.stalledAfterMs ?? 600_000,
    isOutage: input.isOutage ?? (() => false),
    killSwitch: input.killSwitch ?? false,
    ...(input.onDeadLetter && { onDeadLetter: input.onDeadLetter }),
  };
  const problems: string[] = [];
  const wholeFrom1 = (name: 'maxInFlight' | 'maxAttempts' | 'stalledAfterMs'): void => {
    const value = options[name];
    if (!Number.isInteger(value) || value < 1)
      problems.push(`${name} must be a whole number from 1, not ${value}`);
  };
  wholeFrom1('maxInFlight');
  wholeFrom1('maxAttempts');
  wholeFrom1('stalledAfterMs');
  const { initialMs, maxMs } = options.backoff;
  if (!(initialMs > 0 && maxMs >= initialMs)) {
    problems.push(`backoff must grow from above 0, not from ${initialMs} to ${maxMs} ms`);
  }
  if (options.killSwitch !== false) problems.push(...killSwitchProblems(options.killSwitch));
  if (problems.length > 0) throw new InvalidMessagingOptionsError(`Consumer ${consumer}`, problems);
  return options;
}

function killSwitchProblems(options: KillSwitchOptions): string[] {
  const { failures, windowMs, probeInitialMs, probeMaxMs } = options;
  const problems: string[] = [];
  if (!Number.isInteger(failures) || failures < 2 || failures > 1_000)
    problems.push(`killSwitch.failures must be a whole number from 2 to 1000, not ${failures}`);
  if (!(windowMs > 0)) problems.push(`killSwitch.windowMs must be above 0, not ${windowMs}`);
  if (!(probeInitialMs > 0 && probeMaxMs >= probeInitialMs)) {
    problems.push(
      `the pauses of killSwitch must grow from above 0, not from ${probeInitialMs} to ${probeMaxMs} ms`,
    );
  }
  return problems;
}
