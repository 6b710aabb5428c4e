export {
  createPolicy,
  type Attempt,
  type BreakerChange,
  type BreakerState,
  type ExecuteOptions,
  type Fallback,
  type Policy,
  type PolicyDependencies,
  type PolicyMetrics,
  type PolicyState,
  type SinglePolicy,
} from './policy.ts';
export { composePolicies } from './compose.ts';
export { fallbackValue, LastAnswers, type LastAnswersOptions } from './fallbacks.ts';
export { RetryBudget, type RetryBudgetOptions } from './retry-budget.ts';
export type { Jitter } from './jitter.ts';
export {
  resolvePolicyOptions,
  type BreakerOptions,
  type BulkheadOptions,
  type PolicyOptions,
  type ResolvedBreakerOptions,
  type ResolvedPolicyOptions,
  type ResolvedRetryOptions,
  type RetryOptions,
} from './policy.options.ts';
export { PolicyRegistry } from './policy-registry.ts';
export {
  BreakerOpenError,
  BreakersOpenError,
  BulkheadFullError,
  DeadlineExceededError,
  DuplicatePolicyError,
  InvalidPolicyOptionsError,
  PolicyTimeoutError,
} from './resilience.errors.ts';
