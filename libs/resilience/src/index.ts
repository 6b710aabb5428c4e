export {
  createPolicy,
  type BreakerChange,
  type BreakerState,
  type ExecuteOptions,
  type Policy,
  type PolicyDependencies,
  type PolicyMetrics,
  type PolicyState,
} from './policy.ts';
export {
  resolvePolicyOptions,
  type BreakerOptions,
  type BulkheadOptions,
  type PolicyOptions,
  type ResolvedBreakerOptions,
  type ResolvedPolicyOptions,
  type RetryOptions,
} from './policy.options.ts';
export { PolicyRegistry } from './policy-registry.ts';
export {
  BreakerOpenError,
  BulkheadFullError,
  DuplicatePolicyError,
  InvalidPolicyOptionsError,
  PolicyTimeoutError,
} from './resilience.errors.ts';
