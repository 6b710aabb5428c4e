import { contractOf, type AnyMessageClass, type Contract, type MessageKind } from './define.ts';
import {
  contractNameOf,
  isContractClass,
  patternRequestSubject,
  patternRoute,
  type Pattern,
  type PatternUse,
} from './patterns.ts';

/** One durable subscription of a service to events: becomes one consumer per owner of its events. */
export interface EventReaction {
  readonly events: readonly AnyMessageClass[];
  /**
   * Keeps the order of each aggregate's events across replicas and restarts too, at the price of one consumer
   * per partition and one event at a time in each. Default false: ordered within a process, and the
   * handler is written so that a late event does no harm.
   */
  readonly ordered?: boolean;
  /**
   * Lets the service read the whole history of these events, from their owners' streams and outboxes, to build what it
   * made of them again. Default false.
   */
  readonly replayable?: boolean;
}

export interface ServiceManifestSpec {
  /** Kebab-case; the owner in the contracts, the Postgres role, the NATS user. */
  readonly name: string;
  /** Commands and queries that the service answers. */
  readonly handles?: readonly AnyMessageClass[];
  /** Of `handles`, those owned by another service that this one answers until the owner exists. */
  readonly standsInFor?: readonly AnyMessageClass[];
  /** Others' commands and queries that it calls and waits for (request/reply). */
  readonly calls?: readonly AnyMessageClass[];
  /** Commands that its sagas send durably. */
  readonly sends?: readonly AnyMessageClass[];
  /** Events that it publishes. */
  readonly publishes?: readonly AnyMessageClass[];
  /** Durable subscriptions by name; the name is part of the consumer's identity and outlives class names. */
  readonly reacts?: Readonly<Record<string, EventReaction>>;
  /**
   * Owners whose events its processes see as they happen, without waiting for them (`Broker.watch`): hints, of which
   * one may be missed. Default: none.
   */
  readonly watches?: readonly string[];
  /** Whether it has a database. Default true. */
  readonly database?: boolean;
  /** What its Nest controllers (`@MessagePattern`, `@EventPattern`) and clients (`ClientProxy`) use. Default: nothing. */
  readonly patterns?: PatternUse;
}

/**
 * What one service says of itself on the wire. Streams, consumers, permissions and documents are derived from
 * it; starting the service checks that its handlers match.
 */
export interface ServiceManifest extends Required<Omit<ServiceManifestSpec, 'patterns'>> {
  readonly answers: readonly AnyMessageClass[];
  readonly patterns: Required<PatternUse>;
}

/** Declares a service; throws a TypeError that lists everything inconsistent in the declaration. */
export function defineService(spec: ServiceManifestSpec): ServiceManifest {
  const {
    name,
    handles = [],
    standsInFor = [],
    calls = [],
    sends = [],
    publishes = [],
    reacts = {},
    watches = [],
    database = true,
  } = spec;
  const patterns = { answers: [], reacts: [], calls: [], emits: [], ...spec.patterns };
  const problems: string[] = [];
  if (!/^[a-z][a-z0-9-]*$/.test(name)) problems.push(`name "${name}" must be kebab-case`);
  const check = (
    list: string,
    classes: readonly AnyMessageClass[],
    kinds: readonly MessageKind[],
    owned?: boolean,
  ) => {
    for (const { contract } of classes) {
      if (!kinds.includes(contract.kind)) problems.push(`${list}: ${contract.type} is a ${contract.kind}`);
      if (owned === true && contract.owner !== name)
        problems.push(`${list}: ${contract.type} belongs to ${contract.owner}`);
      if (owned === false && contract.owner === name)
        problems.push(`${list}: ${contract.type} is the service's own`);
    }
    const types = classes.map((each) => contractOf(each).type);
    for (const twice of new Set(types.filter((type, index) => types.indexOf(type) !== index))) {
      problems.push(`${list}: ${twice} is listed twice`);
    }
  };
  check('handles', handles, ['command', 'query'], true);
  check('standsInFor', standsInFor, ['command', 'query'], false);
  check('calls', calls, ['command', 'query'], false);
  check('sends', sends, ['command']);
  check('publishes', publishes, ['event'], true);
  for (const [reaction, { events }] of Object.entries(reacts)) {
    if (!/^[a-z][a-z0-9-]*$/.test(reaction)) problems.push(`reacts: "${reaction}" must be kebab-case`);
    if (events.length === 0) problems.push(`reacts.${reaction}: lists no event`);
    check(`reacts.${reaction}`, events, ['event']);
  }
  for (const owner of watches) {
    if (!/^[a-z][a-z0-9-]*$/.test(owner)) problems.push(`watches: "${owner}" must be kebab-case`);
  }
  problems.push(...problemsOfPatterns(patterns, name));
  const handled = new Set([...handles, ...standsInFor].map((each) => contractOf(each).type));
  for (const route of patterns.answers.map(routeOrNothing).filter((each) => handled.has(each))) {
    problems.push(`patterns.answers: ${route} has a command or query handler already`);
  }
  if (problems.length > 0) {
    throw new TypeError(`The manifest of service "${name}" is not consistent:\n- ${problems.join('\n- ')}`);
  }
  return Object.freeze({
    name,
    handles,
    standsInFor,
    calls,
    sends,
    publishes,
    reacts,
    watches,
    database,
    answers: [...handles, ...standsInFor],
    patterns,
  });
}

/** The contracts of message classes. */
export function contractsOf(classes: readonly AnyMessageClass[]): Contract[] {
  return classes.map(contractOf);
}

const patternKinds: Readonly<Record<keyof PatternUse, readonly MessageKind[]>> = {
  answers: ['command', 'query'],
  reacts: ['event'],
  calls: ['command', 'query'],
  emits: ['event'],
};

function problemsOfPatterns(patterns: Required<PatternUse>, service: string): string[] {
  const problems: string[] = [];
  for (const [list, kinds] of Object.entries(patternKinds) as [keyof PatternUse, readonly MessageKind[]][]) {
    const seen = new Set<string>();
    for (const pattern of patterns[list]) {
      const problem = problemOfPattern(pattern, kinds, list === 'emits' ? service : undefined);
      if (problem !== undefined) problems.push(`patterns.${list}: ${problem}`);
      else if (seen.has(patternRoute(pattern))) {
        problems.push(`patterns.${list}: ${patternRoute(pattern)} is listed twice`);
      } else seen.add(patternRoute(pattern));
    }
  }
  return problems;
}

function problemOfPattern(
  pattern: Pattern,
  kinds: readonly MessageKind[],
  owner: string | undefined,
): string | undefined {
  if (isContractClass(pattern) && !kinds.includes(pattern.contract.kind)) {
    return `${pattern.contract.type} is a ${pattern.contract.kind}`;
  }
  try {
    const route = patternRoute(pattern);
    patternRequestSubject(route);
    const contract = contractNameOf(route);
    if (owner !== undefined && contract !== undefined && contract.owner !== owner) {
      return `${route} belongs to ${contract.owner}`;
    }
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** What is no pattern has been named before. */
function routeOrNothing(pattern: Pattern): string {
  try {
    return patternRoute(pattern);
  } catch {
    return '';
  }
}
