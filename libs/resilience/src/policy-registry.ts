import type { PolicyOptions } from './policy.options.ts';
import {
  createPolicy,
  type BreakerChange,
  type PolicyDependencies,
  type PolicyState,
  type SinglePolicy,
} from './policy.ts';
import { BreakersOpenError, DuplicatePolicyError } from './resilience.errors.ts';

/** The policies of one process, by name, so that metrics and health can show them all. */
export class PolicyRegistry {
  readonly #policies = new Map<string, SinglePolicy>();
  readonly #listeners = new Set<(change: BreakerChange) => void>();
  readonly #dependencies: PolicyDependencies;

  /** The dependencies go to every policy that it makes. */
  constructor(dependencies: PolicyDependencies = {}) {
    this.#dependencies = dependencies;
  }

  /**
   * Makes a policy; `own` replaces dependencies of the registry for it. Throws DuplicatePolicyError if the name is taken,
   * InvalidPolicyOptionsError as createPolicy.
   */
  create(name: string, options: PolicyOptions = {}, own: PolicyDependencies = {}): SinglePolicy {
    if (this.#policies.has(name)) throw new DuplicatePolicyError(name);
    const policy = createPolicy(name, options, { ...this.#dependencies, ...own });
    policy.onChange((change) => {
      for (const listener of this.#listeners) listener(change);
    });
    this.#policies.set(name, policy);
    return policy;
  }

  get(name: string): SinglePolicy | undefined {
    return this.#policies.get(name);
  }

  list(): readonly SinglePolicy[] {
    return [...this.#policies.values()];
  }

  /** For `metrics.observePolicies(() => policies.states())`. */
  states(): readonly PolicyState[] {
    return this.list().map((policy) => policy.state());
  }

  /** Tells of each change of any breaker, of policies made later too; returns the way to stop it. */
  onChange(listener: (change: BreakerChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Throws {@link BreakersOpenError} with the names of all breakers that are not closed: for a health indicator. */
  assertClosed(): void {
    const open = this.states().filter(({ breaker }) => breaker !== 'closed');
    if (open.length === 0) return;
    throw new BreakersOpenError(open.map((state) => ({ name: state.name, cause: state.open?.cause })));
  }
}
