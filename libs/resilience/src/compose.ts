import type { Attempt, BreakerState, ExecuteOptions, Policy, PolicyState } from './policy.ts';

/**
 * One policy out of several, the outermost first: `composePolicies('inventory.GetStock', [perCall, perOwner])`. Parts
 * are shared by putting the same policy into several compositions. Signal and deadline travel inwards; the fallback and
 * `repeatable` of a call belong to the outermost. Each part counts under its own name.
 */
export function composePolicies(name: string, policies: readonly [Policy, ...Policy[]]): Policy {
  return new ComposedPolicy(name, policies);
}

const severity: readonly BreakerState[] = ['closed', 'half-open', 'open'];

class ComposedPolicy implements Policy {
  readonly name: string;
  readonly #policies: readonly [Policy, ...Policy[]];
  readonly #inner: readonly Policy[];

  constructor(name: string, policies: readonly [Policy, ...Policy[]]) {
    this.name = name;
    this.#policies = policies;
    this.#inner = policies.slice(1);
  }

  execute<T>(fn: (attempt: Attempt) => Promise<T>, options?: ExecuteOptions<T>): Promise<T> {
    // The number of an attempt is that of the outermost policy that makes several.
    const within = this.#inner.reduceRight<(attempt: Attempt) => Promise<T>>(
      (call, policy) =>
        ({ signal, deadline, number }) =>
          policy.execute(number > 1 ? (attempt) => call({ ...attempt, number }) : call, { signal, deadline }),
      fn,
    );
    return this.#policies[0].execute(within, options);
  }

  /** The worst breaker of its parts, and what runs and waits in the innermost that is asked. */
  state(): PolicyState {
    const states = this.#policies.map((policy) => policy.state());
    const worst = states.reduce((a, b) =>
      severity.indexOf(b.breaker) > severity.indexOf(a.breaker) ? b : a,
    );
    const budget = states.find(({ retriesLeft }) => retriesLeft !== undefined);
    return {
      name: this.name,
      breaker: worst.breaker,
      running: states.at(-1)?.running ?? 0,
      queued: states.reduce((sum, { queued }) => sum + queued, 0),
      ...(budget?.retriesLeft !== undefined && { retriesLeft: budget.retriesLeft }),
      ...(worst.open !== undefined && { open: worst.open }),
    };
  }

  onChange(listener: Parameters<Policy['onChange']>[0]): () => void {
    const stops = this.#policies.map((policy) => policy.onChange(listener));
    return () => {
      for (const stop of stops) stop();
    };
  }
}
