import type { AnyMessage, AnyMessageClass, Contract, ServiceManifest } from '@flotilla/contracts-protocol';
import { errorCode, type Clock } from '@flotilla/kernel';
import { RequestTimeoutError } from '@flotilla/messaging';
import {
  composePolicies,
  InvalidPolicyOptionsError,
  LastAnswers,
  RetryBudget,
  type Fallback,
  type Policy,
  type PolicyMetrics,
  type PolicyRegistry,
} from '@flotilla/resilience';
import { hasMessageId } from '../outgoing.ts';
import { RemoteFailureError } from '../service.errors.ts';
import {
  InvalidCallPoliciesError,
  type CallOptions,
  type CallOverride,
  type CallPolicySpec,
  type OwnerOptions,
} from './call-policies.options.ts';

const OWNER_DEFAULTS: Required<Omit<OwnerOptions, keyof CallOptions>> = {
  maxConcurrent: 100,
  queue: 1_000,
  breakerThreshold: 0.5,
  breakerCalls: 20,
  breakerRestMs: 1_000,
  retryRatio: 0.2,
  retriesPerSecond: 1,
};
const ATTEMPTS = 3;
/** Short: the caller waits. Random from nothing on, so that many callers spread over it. */
const RETRY = { initialMs: 50, maxMs: 500, jitter: 'full' } as const;

/** Answers by which a service says that it cannot work now, whatever the message. */
const UNABLE: ReadonlySet<string> = new Set([
  'OVERLOADED',
  'UNIT_OF_WORK_OVERLOADED',
  'DATABASE_UNAVAILABLE',
  'DEADLINE_EXCEEDED',
]);
/** It made no attempt itself: another one from here would find the same. */
const REFUSED_BEHIND: ReadonlySet<string> = new Set(['BREAKER_OPEN', 'BULKHEAD_FULL']);

/** How one contract is called. */
export interface CallPath {
  readonly policy: Policy;
  /** How long an attempt waits for its answer, in milliseconds. */
  readonly attemptTimeoutMs: number;
  /** What answers if the owner does not; `body` is the query as JSON. */
  readonly fallbackFor?: (message: AnyMessage, body: string) => Fallback<unknown>;
  /** Sees every answer. */
  readonly keep?: (body: string, answer: unknown) => void;
}

const fellBack = new WeakSet<object>();

/** Whether a reply is not its owner's, but what the fallback of the call's policy made. */
export function isFallback(answer: unknown): boolean {
  return typeof answer === 'object' && answer !== null && fellBack.has(answer);
}

/**
 * The policies of a service's calls: retries and fallback per contract, breaker, bulkhead and retry budget per owner.
 * A slow owner so takes nothing from the calls to others, and all contracts of one owner learn from each other that
 * it is down.
 */
export class CallPolicies {
  readonly #paths = new Map<string, CallPath>();
  readonly #impatient = new WeakSet<Error>();

  /** Throws {@link InvalidCallPoliciesError} with everything that does not fit the manifest's `calls`. */
  constructor(
    { name, calls }: Pick<ServiceManifest, 'name' | 'calls'>,
    specs: readonly CallPolicySpec[],
    overrides: readonly CallOverride[],
    registry: PolicyRegistry,
    clock: Clock,
    metrics: PolicyMetrics,
  ) {
    // How many calls of a contract there were, and how they ended, is counted as requests already.
    const uncounted: PolicyMetrics = {
      policyCalled: () => undefined,
      policyRetried: (policy) => metrics.policyRetried(policy),
      policyRetryDenied: (policy, reason) => metrics.policyRetryDenied(policy, reason),
      policyFellBack: (policy) => metrics.policyFellBack(policy),
    };
    const contracts = calls.map(({ contract }) => contract);
    const problems = mismatches(name, contracts, specs, overrides);
    const attempt = (make: () => void): void => {
      try {
        make();
      } catch (error) {
        if (!(error instanceof InvalidPolicyOptionsError)) throw error;
        problems.push(error.message);
      }
    };
    for (const owner of new Set(contracts.map((contract) => contract.owner))) {
      attempt(() => {
        const options: OwnerOptions = {
          ...specs.find((spec) => 'owner' in spec && spec.owner === owner)?.options,
          ...numbersFor('*', overrides),
          ...numbersFor(owner, overrides),
        };
        const shared = { ...OWNER_DEFAULTS, ...options };
        const around = registry.create(owner, {
          timeoutMs: false,
          bulkhead: { maxConcurrent: shared.maxConcurrent, queue: shared.queue },
          breaker: {
            threshold: shared.breakerThreshold,
            overCalls: shared.breakerCalls,
            leastCalls: Math.max(1, Math.ceil(shared.breakerCalls / 2)),
            halfOpenAfterMs: shared.breakerRestMs,
          },
          isFailure: (error) => this.#speaksAgainstOwner(error),
        });
        const budget = new RetryBudget(
          { ratio: shared.retryRatio, minPerSecond: shared.retriesPerSecond },
          { clock },
        );
        for (const contract of contracts.filter((each) => each.owner === owner)) {
          attempt(() =>
            this.#addPath(contract, {
              around,
              budget,
              registry,
              metrics: uncounted,
              clock,
              options,
              specs,
              overrides,
            }),
          );
        }
      });
    }
    if (problems.length > 0) throw new InvalidCallPoliciesError(problems);
  }

  /** How the contract is called; undefined for one that the service does not call. */
  pathOf({ type }: Contract): CallPath | undefined {
    return this.#paths.get(type);
  }

  /** Notes that an attempt ended for lack of time although it had less than half of what an answer may take. */
  noteImpatience(error: unknown): void {
    if (error instanceof Error) this.#impatient.add(error);
  }

  #addPath(
    contract: Contract,
    from: {
      readonly around: Policy;
      readonly budget: RetryBudget;
      readonly registry: PolicyRegistry;
      readonly metrics: PolicyMetrics;
      readonly clock: Clock;
      readonly options: CallOptions;
      readonly specs: readonly CallPolicySpec[];
      readonly overrides: readonly CallOverride[];
    },
  ): void {
    const spec = from.specs.find((each) => 'message' in each && each.message.contract.type === contract.type);
    const own = spec?.options ?? {};
    const options: CallOptions = {
      attempts: own.attempts ?? from.options.attempts ?? ATTEMPTS,
      attemptTimeoutMs: own.attemptTimeoutMs ?? from.options.attemptTimeoutMs ?? contract.timeoutMs,
      // What the operator says comes last, the most specific of it at the end.
      ...numbersFor('*', from.overrides),
      ...numbersFor(contract.owner, from.overrides),
      ...numbersFor(contract.type, from.overrides),
    };
    const outer = from.registry.create(
      contract.type,
      {
        timeoutMs: false,
        retry: { attempts: options.attempts ?? ATTEMPTS, budget: from.budget, ...RETRY },
      },
      { metrics: from.metrics },
    );
    const fallback = spec !== undefined && 'message' in spec ? spec.fallback : undefined;
    const last =
      fallback?.lastAnswersMs === undefined
        ? undefined
        : new LastAnswers<unknown>({
            maxAgeMs: fallback.lastAnswersMs,
            clock: from.clock,
            ...(fallback.maxEntries !== undefined && { maxEntries: fallback.maxEntries }),
          });
    this.#paths.set(contract.type, {
      policy: composePolicies(contract.type, [outer, from.around]),
      attemptTimeoutMs: options.attemptTimeoutMs ?? contract.timeoutMs,
      ...(last && {
        keep: (body: string, answer: unknown) => last.keep(body, answer),
        fallbackFor: (_message: AnyMessage, body: string) => marked(last.fallback(body)),
      }),
      ...(fallback?.answer && {
        fallbackFor: (message: AnyMessage) =>
          marked({ answer: (error) => fallback.answer?.(message as never, error) }),
      }),
    });
  }

  /** Time-outs, nobody there, and its own word that it cannot; what it refused or failed at is an answer. */
  #speaksAgainstOwner(error: unknown): boolean | undefined {
    if (error instanceof Error && this.#impatient.has(error)) return undefined;
    if (error instanceof RemoteFailureError) return UNABLE.has(error.remoteCode);
    const code = errorCode(error);
    if (code === 'BROKER_UNAVAILABLE' || code === 'REQUEST_ABORTED') return undefined;
    return code === 'NO_RESPONDERS' || code === 'REQUEST_TIMEOUT' || code === 'DEADLINE_EXCEEDED';
  }
}

/** Whether the same message may be sent again after the error. */
export function mayRepeat(contract: Contract, message: AnyMessage): (error: unknown) => boolean {
  return (error) => {
    if (error instanceof RemoteFailureError && REFUSED_BEHIND.has(error.remoteCode)) return false;
    // Known by its id, a command that comes twice is done once; one that reached nobody was not done.
    return contract.kind === 'query' || hasMessageId(message) || errorCode(error) === 'NO_RESPONDERS';
  };
}

/** Whether the error is the end of a wait. */
export function isTimeout(error: unknown): boolean {
  return (
    error instanceof RequestTimeoutError ||
    (error instanceof RemoteFailureError && error.remoteCode === 'DEADLINE_EXCEEDED')
  );
}

function marked(fallback: Fallback<unknown>): Fallback<unknown> {
  return {
    ...fallback,
    answer: async (error) => {
      const answer = await fallback.answer(error);
      if (typeof answer === 'object' && answer !== null) fellBack.add(answer);
      return answer;
    },
  };
}

function numbersFor(target: string, overrides: readonly CallOverride[]): Partial<OwnerOptions> {
  return Object.fromEntries(
    overrides.filter((each) => each.target === target).map(({ option, value }) => [option, value]),
  );
}

function mismatches(
  service: string,
  contracts: readonly Contract[],
  specs: readonly CallPolicySpec[],
  overrides: readonly CallOverride[],
): string[] {
  const problems: string[] = [];
  const owners = new Set(contracts.map(({ owner }) => owner));
  const types = new Set(contracts.map(({ type }) => type));
  const seen = new Set<string>();
  for (const spec of specs) {
    const target = 'message' in spec ? typeOf(spec.message) : spec.owner;
    if (!('message' in spec ? types : owners).has(target))
      problems.push(`callPolicies: ${target} is not among the calls in src/${service}.service.ts`);
    if (seen.has(target)) problems.push(`callPolicies: ${target} is there twice`);
    seen.add(target);
    if ('message' in spec && spec.fallback !== undefined && spec.message.contract.kind !== 'query')
      problems.push(`callPolicies: ${target} is a command, which has no fallback`);
  }
  for (const { target, option } of overrides) {
    if (target !== '*' && !owners.has(target) && !types.has(target))
      problems.push(
        `CALL_POLICIES: ${target}.${option}: "${service}" calls ${[...owners].join(', ') || 'nobody'}`,
      );
  }
  return problems;
}

function typeOf({ contract }: AnyMessageClass): string {
  return contract.type;
}
