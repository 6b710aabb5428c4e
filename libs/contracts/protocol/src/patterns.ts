import type { AnyMessageClass } from './define.ts';
import {
  eventFilter,
  eventStream,
  eventSubject,
  keyOfToken,
  rpcSubject,
  subjectToken,
  type ContractName,
} from './subjects.ts';

/** The stream of all events that are sent by a pattern which is no contract's. */
export const PATTERN_STREAM = 'PATTERNS';

/** The subjects of {@link PATTERN_STREAM}. */
export const PATTERN_EVENTS = 'pattern.evt.>';

const REQUEST_PREFIX = 'pattern.rpc.';
const EVENT_PREFIX = 'pattern.evt.';

export interface PatternObject {
  readonly [key: string]: string | number | boolean | null | PatternObject;
}

/**
 * What Nest's `@MessagePattern` and `@EventPattern` take: a text such as `order.created`, an object such as
 * `{ cmd: 'sum' }`, or the class of a contract.
 */
export type Pattern = string | number | PatternObject | AnyMessageClass;

/** What a service's controllers and clients do with patterns; see `defineService`. */
export interface PatternUse {
  /** Patterns of its `@MessagePattern` handlers. */
  readonly answers?: readonly Pattern[];
  /** Patterns of its `@EventPattern` handlers: each becomes a durable consumer. */
  readonly reacts?: readonly Pattern[];
  /** Patterns that it sends with `ClientProxy.send`. */
  readonly calls?: readonly Pattern[];
  /** Patterns that it sends with `ClientProxy.emit`. */
  readonly emits?: readonly Pattern[];
}

const contractType = /^([a-z][a-z0-9-]*)\.([A-Z][A-Za-z0-9]*)\.v([1-9]\d*)$/;

/** Whether a pattern is the class of a contract. */
export function isContractClass(pattern: unknown): pattern is AnyMessageClass {
  return (
    typeof pattern === 'function' && (pattern as unknown as Partial<AnyMessageClass>).contract !== undefined
  );
}

/**
 * A pattern as the one text that it is known by, as `@nestjs/microservices` writes it: an object is JSON with sorted
 * keys. The class of a contract is its type. Throws a TypeError for what is no pattern.
 */
export function patternRoute(pattern: Pattern): string {
  if (isContractClass(pattern)) return pattern.contract.type;
  if (typeof pattern === 'string' || typeof pattern === 'number') return String(pattern);
  if (typeof pattern === 'object' && pattern !== null) return objectRoute(pattern);
  throw new TypeError(
    `${String(pattern)} is no message pattern: give a text, an object or the class of a contract`,
  );
}

function objectRoute(pattern: PatternObject): string {
  const escape = (text: string): string => text.replace(/\\/g, '\\\\').replace(/"/g, '\\"');
  const parts = Object.keys(pattern)
    .sort((a, b) => a.localeCompare(b))
    .map((key) => {
      const value = pattern[key];
      const text =
        typeof value === 'string'
          ? `"${escape(value)}"`
          : typeof value === 'object' && value !== null
            ? objectRoute(value)
            : String(value);
      return `"${escape(key)}":${text}`;
    });
  return `{${parts.join(',')}}`;
}

/** The contract that a route names, if it has the form of a contract's type. */
export function contractNameOf(route: string): ContractName | undefined {
  const match = contractType.exec(route);
  if (match === null) return undefined;
  const [, owner, name, version] = match as unknown as [string, string, string, string];
  return { owner, name, version: Number(version) };
}

/** Whether a route stands for several patterns: `*` for one token of it, `>` at its end for one or more. */
export function hasWildcard(route: string): boolean {
  return tokensOf(route).some(isWildcard);
}

/** Where requests of a pattern go: a contract's own subject, else `pattern.rpc.<pattern>`. */
export function patternRequestSubject(route: string): string {
  const contract = contractNameOf(route);
  return contract ? rpcSubject(contract) : REQUEST_PREFIX + patternTokens(route);
}

/** Where an event of a pattern goes: a contract's own subject, else `pattern.evt.<pattern>`. */
export function patternEventSubject(route: string, key: string): string {
  const contract = contractNameOf(route);
  return contract ? eventSubject(contract, key) : EVENT_PREFIX + patternTokens(route);
}

/** All events of a pattern, which may have wildcards. */
export function patternEventFilter(route: string): string {
  const contract = contractNameOf(route);
  return contract ? eventFilter(contract) : EVENT_PREFIX + patternTokens(route);
}

/** The stream that keeps the events of a pattern. */
export function patternEventStream(route: string): string {
  const contract = contractNameOf(route);
  return contract ? eventStream(contract.owner) : PATTERN_STREAM;
}

/** The pattern that a message was sent by, from its subject; undefined if the subject is none of a pattern's. */
export function routeOfSubject(subject: string): string | undefined {
  const [kind, ...rest] = subject.split('.');
  // A contract's type has three tokens; what follows in an event's subject is partition and key.
  if (kind === 'rpc' || kind === 'evt') return rest.slice(0, 3).join('.');
  if (!subject.startsWith(REQUEST_PREFIX) && !subject.startsWith(EVENT_PREFIX)) return undefined;
  return rest.slice(1).map(keyOfToken).join('.');
}

function patternTokens(route: string): string {
  if (route === '') throw new TypeError('The empty text is no message pattern');
  const tokens = tokensOf(route);
  if (tokens.slice(0, -1).includes('>')) {
    throw new TypeError(`Pattern "${route}": ">" stands for the rest and so only at the end`);
  }
  return tokens.map((token) => (isWildcard(token) ? token : subjectToken(token))).join('.');
}

/** An object is one token, whatever dots are in it. */
function tokensOf(route: string): string[] {
  return route.startsWith('{') ? [route] : route.split('.');
}

function isWildcard(token: string): boolean {
  return token === '*' || token === '>';
}
