import type { AnyMessage, AnyMessageClass, ReplyOf } from '@flotilla/contracts-protocol';
import { FlotillaError } from '@flotilla/kernel';

/** How calls of one contract are made. */
export interface CallOptions {
  /**
   * Attempts in all, within the contract's time-out. Default 3. Only of what may be repeated: queries, commands with a
   * message id (`withMessageId`), and what nobody was there to receive; never after a refusal.
   */
  readonly attempts?: number;
  /**
   * How long one attempt waits for its answer, in milliseconds. Default: the contract's time-out, so that a time-out is
   * not repeated; shorter leaves time for another attempt, perhaps at another replica.
   */
  readonly attemptTimeoutMs?: number;
}

/** How all calls to one service are made. */
export interface OwnerOptions extends CallOptions {
  /** Calls to the service at the same time. Default 100; more reach it at once, and wait here for one that is dead. */
  readonly maxConcurrent?: number;
  /** How many more wait for a place, until their deadline; beyond, calls are refused at once. Default 1000. */
  readonly queue?: number;
  /** The breaker opens when more than this share of the last calls failed, between 0 and 1. Default 0.5. */
  readonly breakerThreshold?: number;
  /** How many calls the breaker looks back over; it does not open before half as many. Default 20. */
  readonly breakerCalls?: number;
  /** How long an open breaker refuses before it tries one call, in milliseconds. Default 1000. */
  readonly breakerRestMs?: number;
  /** Retries per call, between 0 and 1, over all calls to the service. Default 0.2. */
  readonly retryRatio?: number;
  /** Retries per second besides. Default 1. */
  readonly retriesPerSecond?: number;
}

/** What answers a query whose owner does not. */
export type QueryFallback<M extends AnyMessage> =
  /** Makes the answer; rethrows the error where it has none. */
  | { readonly answer: (query: M, error: unknown) => ReplyOf<M> | Promise<ReplyOf<M>> }
  /** The last answer to the same query again, if it is not older than this, in milliseconds. */
  | { readonly lastAnswersMs: number; readonly maxEntries?: number };

export interface CallPolicyOptions<M extends AnyMessage> extends CallOptions {
  /** Only for queries: a command that was not done is not done. */
  readonly fallback?: QueryFallback<M>;
}

/** The part of a {@link CallPolicySpec} that does not depend on the type of the message. */
interface AnyFallback {
  readonly answer?: (query: never, error: unknown) => unknown;
  readonly lastAnswersMs?: number;
  readonly maxEntries?: number;
}

/** Made by {@link callPolicy} or {@link ownerPolicy}. */
export type CallPolicySpec =
  | { readonly message: AnyMessageClass; readonly options: CallOptions; readonly fallback?: AnyFallback }
  | { readonly owner: string; readonly options: OwnerOptions };

/** How a service calls one contract: `FlotillaModule.forService({ callPolicies: [callPolicy(GetStock, {...})] })`. */
export function callPolicy<C extends AnyMessageClass>(
  message: C,
  { fallback, ...options }: CallPolicyOptions<InstanceType<C>>,
): CallPolicySpec {
  return { message, options, ...(fallback !== undefined && { fallback }) };
}

/** How a service calls all contracts of one owner; they share its breaker, bulkhead and retry budget. */
export function ownerPolicy(owner: string, options: OwnerOptions): CallPolicySpec {
  return { owner, options };
}

const CALL_NUMBERS = ['attempts', 'attemptTimeoutMs'] as const satisfies readonly (keyof CallOptions)[];
const OWNER_NUMBERS = [
  ...CALL_NUMBERS,
  'maxConcurrent',
  'queue',
  'breakerThreshold',
  'breakerCalls',
  'breakerRestMs',
  'retryRatio',
  'retriesPerSecond',
] as const satisfies readonly (keyof OwnerOptions)[];

/** One `<target>.<option>=<number>` of `CALL_POLICIES`; the target is a contract's type, an owner, or `*`. */
export interface CallOverride {
  readonly target: string;
  readonly option: (typeof OWNER_NUMBERS)[number];
  readonly value: number;
}

/**
 * Reads `inventory.maxConcurrent=50,inventory.GetStock.v1.attempts=1,*.breakerRestMs=5000`. Throws with everything
 * that is wrong in it.
 */
export function parseCallOverrides(text: string): CallOverride[] {
  const problems: string[] = [];
  const overrides = text.split(',').flatMap((part): CallOverride[] => {
    const [, target = '', name = '', number = ''] = /^\s*(.+)\.(\w+)\s*=\s*(\S+)\s*$/.exec(part) ?? [];
    const isContract = target.includes('.');
    const names: readonly string[] = isContract ? CALL_NUMBERS : OWNER_NUMBERS;
    if (target === '') problems.push(`"${part.trim()}" is not <contract, owner or *>.<option>=<number>`);
    else if (!names.includes(name))
      problems.push(`"${part.trim()}": ${isContract ? 'a contract' : 'an owner'} has ${names.join(', ')}`);
    else if (!Number.isFinite(Number(number))) problems.push(`"${part.trim()}": ${number} is not a number`);
    else return [{ target, option: name as CallOverride['option'], value: Number(number) }];
    return [];
  });
  if (problems.length > 0) throw new InvalidCallPoliciesError(problems);
  return overrides;
}

/** Thrown at start when what the module or `CALL_POLICIES` says of calls makes no sense; `problems` has it all. */
export class InvalidCallPoliciesError extends FlotillaError {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super('INVALID_CALL_POLICIES', `The policies of calls cannot be made: ${problems.join('; ')}`, {
      retry: 'never',
    });
    this.problems = problems;
  }
}
