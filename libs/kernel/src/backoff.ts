export interface BackoffOptions {
  /** Delay before the first retry, in milliseconds. */
  readonly initialMs: number;
  /** No delay is longer, in milliseconds. */
  readonly maxMs: number;
  /** Growth per attempt. Default 2. */
  readonly factor?: number;
}

/**
 * The delay before retry number `attempt` (1 is the first), in milliseconds: exponential, with "equal
 * jitter" (half fixed, half random) so that messages which failed together do not return together.
 */
export function backoffDelayMs(
  attempt: number,
  options: BackoffOptions,
  random: () => number = Math.random,
): number {
  const ceiling = Math.min(
    options.maxMs,
    options.initialMs * (options.factor ?? 2) ** Math.max(0, attempt - 1),
  );
  return Math.round(ceiling / 2 + (random() * ceiling) / 2);
}
