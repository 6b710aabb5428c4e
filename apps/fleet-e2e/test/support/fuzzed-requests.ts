import fc, { type Arbitrary } from 'fast-check';
import type { JsonSchema, Operation } from './openapi.ts';
import type { RawRequest } from './raw-http.ts';

/** What exists, so that requests get further than to "not found". */
export interface KnownThings {
  readonly skus: readonly string[];
  readonly orderIds: readonly string[];
  readonly returnIds: readonly string[];
  readonly authorizations: readonly string[];
}

export interface FuzzedRequest extends RawRequest {
  /** What was done to it: for the report. */
  readonly mutations: readonly string[];
  /** Whether the document does not allow it: then its answer must be a 4xx. */
  readonly invalid: boolean;
}

type Json = unknown;

const awkwardText = [
  '\0',
  'a\0b',
  '\ud800',
  'x\udfffy',
  '\u202etxt.exe',
  'e\u0301\u0327\u0345',
  '👩‍👩‍👧‍👦',
  '\ufeff',
  '\r\nset-cookie: a=b',
  "'; DROP TABLE orders; --",
  '${7*7}{{7*7}}',
  '../../../etc/passwd',
  '<script>alert(1)</script>',
  '__proto__',
  'constructor',
  'null',
  '1e400',
  ' ',
  '\u00a0',
  '%00',
  '%s%n',
];

const text = (schema: JsonSchema): Arbitrary<string> => {
  const { minLength = 0, maxLength = 300 } = schema as { minLength?: number; maxLength?: number };
  const within = (each: string) => each.length >= minLength && each.length <= maxLength;
  return fc.oneof(
    { weight: 5, arbitrary: fc.string({ minLength, maxLength: Math.min(maxLength, 40) }) },
    {
      weight: 2,
      arbitrary: fc.string({ unit: 'binary', minLength, maxLength: Math.min(maxLength, 20) }).filter(within),
    },
    { weight: 2, arbitrary: fc.constantFrom(...awkwardText).filter(within) },
    { weight: 1, arbitrary: fc.constantFrom('x'.repeat(maxLength), 'é'.repeat(maxLength)).filter(within) },
  );
};

/** Values by a schema; those that the fleet knows, by their name, more often than others. */
export function valuesOf(schema: JsonSchema, known: KnownThings, name = ''): Arbitrary<Json> {
  const {
    enum: choices,
    const: constant,
    anyOf,
    oneOf,
  } = schema as Record<string, readonly JsonSchema[] | undefined>;
  if (choices) return fc.constantFrom(...choices);
  if (constant !== undefined) return fc.constant(constant);
  const alternatives = anyOf ?? oneOf;
  if (alternatives) return fc.oneof(...alternatives.map((each) => valuesOf(each, known, name)));
  switch (schema['type']) {
    case 'object':
      return objectsOf(schema, known);
    case 'array': {
      const { items = {}, minItems = 0 } = schema as { items?: JsonSchema; minItems?: number };
      return fc.array(valuesOf(items, known, name), { minLength: minItems, maxLength: minItems + 4 });
    }
    case 'integer':
    case 'number': {
      const { minimum = -1e9, maximum = 1e9 } = schema as { minimum?: number; maximum?: number };
      return fc.oneof(
        { weight: 4, arbitrary: fc.integer({ min: minimum, max: Math.min(maximum, minimum + 20) }) },
        fc.integer({ min: minimum, max: maximum }),
        fc.constantFrom(minimum, maximum),
      );
    }
    case 'boolean':
      return fc.boolean();
    case 'string':
      return stringsOf(schema, known, name);
    default:
      return fc.jsonValue();
  }
}

function stringsOf(schema: JsonSchema, known: KnownThings, name: string): Arbitrary<string> {
  const often = (values: readonly string[], other: Arbitrary<string>) =>
    values.length === 0 ? other : fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...values) }, other);
  const { format, pattern } = schema as { format?: string; pattern?: string };
  if (format === 'uuid') return often(name === 'returnId' ? known.returnIds : known.orderIds, fc.uuid());
  if (format === 'email') return fc.emailAddress();
  if (name === 'currency') return often(['GBP', 'GBP', 'EUR', 'JPY'], fc.stringMatching(/^[A-Z]{3}$/));
  if (pattern !== undefined) return fc.stringMatching(new RegExp(pattern));
  if (name === 'sku') return often(known.skus, text(schema));
  if (name === 'token') return often(['tok_ok', 'tok_declined', 'tok_flaky'], text(schema));
  if (name === 'customerId') return often(['c-fuzz', 'c-other'], text(schema));
  if (name === 'cursor') return often(forgedCursors, text(schema));
  if (name === 'scope') return often(['orders:read', 'orders:write orders:read'], text(schema));
  return text(schema);
}

function objectsOf(schema: JsonSchema, known: KnownThings): Arbitrary<object> {
  const { properties = {}, required = [] } = schema as {
    properties?: Readonly<Record<string, JsonSchema>>;
    required?: string[];
  };
  const fields = Object.fromEntries(
    Object.entries(properties).map(([name, each]) => [name, valuesOf(each, known, name)]),
  );
  return fc.record(fields, { requiredKeys: required.filter((name) => name in fields) });
}

/** Replaces, adds or takes away something of a value at a place that `at` picks. */
const bodyMutations: Readonly<Record<string, (value: Json, at: number) => Json>> = {
  'a wrong type': (value, at) =>
    changed(value, at, () => [null, [], {}, 'text', -1, 1.5, true, 1e21, '0'][at % 9]),
  'a field too many': (value, at) => changed(value, at, (each) => withField(each, 'colour', 'red')),
  'a dangerous field': (value, at) =>
    changed(value, at, (each) => withField(each, 'constructor', { prototype: {} })),
  'a field too few': (value, at) => changed(value, at, withoutFirstField),
  'a long text': (value, at) =>
    changed(value, at, (each) => (typeof each === 'string' ? each.padEnd(70_000, 'x') : each)),
  'an empty text': (value, at) => changed(value, at, (each) => (typeof each === 'string' ? '' : each)),
  'an awkward text': (value, at) =>
    changed(value, at, (each) => (typeof each === 'string' ? awkwardText[at % awkwardText.length] : each)),
  'a number out of bounds': (value, at) =>
    changed(value, at, (each) =>
      typeof each === 'number' ? [0, -1, 2 ** 31, 2 ** 53, 1e300][at % 5] : each,
    ),
  'a long list': (value, at) =>
    changed(value, at, (each) =>
      Array.isArray(each) ? Array.from({ length: 1_500 }, () => each[0] as Json) : each,
    ),
  'deep nesting': (value, at) =>
    changed(value, at, (each) => Array.from({ length: 200 }).reduce((inner: Json) => [inner], each)),
};

function withField(value: Json, name: string, field: Json): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? { ...value, [name]: field }
    : value;
}

function withoutFirstField(value: Json): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).slice(1));
}

/** The value with one of its nodes, the one that `at` falls on, put through `change`. */
function changed(value: Json, at: number, change: (each: Json) => Json): Json {
  const chosen = at % countOf(value);
  let seen = 0;
  const visit = (each: Json): Json => {
    if (seen++ === chosen) return change(each);
    if (Array.isArray(each)) return each.map(visit);
    if (typeof each !== 'object' || each === null) return each;
    return Object.fromEntries(Object.entries(each).map(([name, field]) => [name, visit(field)]));
  };
  return visit(value);
}

function countOf(value: Json): number {
  if (typeof value !== 'object' || value === null) return 1;
  return Object.values(value).reduce<number>((sum, each) => sum + countOf(each), 1);
}

/** Nearly what a list gives out: a moment and an id, made by somebody who has seen one. */
const forgedCursors = [
  '2026-01-02T03:04:05.678Z 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b',
  '5 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b',
  '+275760-09-13T00:00:00.000Z 0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b',
  `2026-01-02T03:04:05.678Z ${'-'.repeat(36)}`,
  '2026-01-02T03:04:05.678Z \0',
].map((cursor) => Buffer.from(cursor).toString('base64url'));

/** What is done to the text of a body, which may be no JSON afterwards. */
const textMutations: Readonly<Record<string, (body: string, at: number) => string>> = {
  'a cut': (body, at) => body.slice(0, at % Math.max(1, body.length)),
  'a name twice': (body) => body.replace(/^\{/, '{"lines":1,"reason":2,'),
  'a poisoned prototype': (body) => body.replace(/^\{/, '{"__proto__":{"admin":true},'),
  'a number that is none': (body) => body.replace(/\d+/, '1e400'),
  'rubbish behind it': (body) => `${body}{}`,
  'bytes of no text': (body) => `\u0001${body}`,
  nothing: () => '',
  'a huge text': () => `"${'x'.repeat(1_100_000)}"`,
};

const contentTypes = [
  'text/plain',
  'application/xml',
  'application/json; charset=utf-16',
  'multipart/form-data',
  '',
];
const brokenEscapes = [
  '%',
  '%zz',
  '%c3%28',
  '%00',
  '%2e%2e%2f',
  '%ff',
  '%u0041',
  'x'.repeat(600),
  ';',
  ':',
  '@',
];
const pathMutations = ['//', '/.', '/../', '?', '?a=b&a=c', '#x', '/%2f'];
const authorizations = ['', 'Bearer', 'Bearer a.b.c', 'Basic dTpw', 'Bearer eyJhbGciOiJub25lIn0.e30.'];

interface Plan {
  readonly values: Readonly<Record<string, Json>>;
  readonly optional: readonly boolean[];
  readonly body: Json;
  readonly key: string;
  readonly authorization: string;
  readonly mutation: string;
  readonly at: number;
}

const unmutated = 'nothing was changed';

/** Requests to one operation: half of them as the document says, half with one thing wrong with them. */
export function requestsTo(operation: Operation, known: KnownThings): Arbitrary<FuzzedRequest> {
  const mutations = [
    ...(operation.body
      ? [...Object.keys(bodyMutations), ...Object.keys(textMutations), 'another content type']
      : []),
    ...(operation.parametersIn('path').length > 0 ? ['a broken escape', 'an awkward path'] : []),
    ...['a strange address', 'an unknown query', 'a repeated query', 'an awkward query'],
    ...(operation.secured ? ['another authorization'] : []),
    ...['an awkward header', 'a repeated header', 'no key', 'a strange key'],
  ];
  return fc
    .record<Plan>({
      values: fc.record(
        Object.fromEntries(
          operation.parameters.map(({ name, schema }) => [name, valuesOf(schema, known, name)]),
        ),
      ),
      optional: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
      body: operation.body ? valuesOf(operation.body, known) : fc.constant(undefined),
      key: fc.uuid(),
      authorization: fc.constantFrom(...known.authorizations),
      mutation: fc.oneof(fc.constant(unmutated), fc.constantFrom(...mutations)),
      at: fc.nat(1_000_000),
    })
    .map((plan) => toRequest(operation, plan));
}

function toRequest(operation: Operation, plan: Plan): FuzzedRequest {
  const { mutation, at } = plan;
  let invalid = false;
  let path = operation.path;
  for (const { name } of operation.parametersIn('path')) {
    const value =
      mutation === 'a broken escape'
        ? (brokenEscapes[at % brokenEscapes.length] ?? '')
        : escaped(mutation === 'an awkward path' ? awkwardText[at % awkwardText.length] : plan.values[name]);
    path = path.replace(`{${name}}`, value === '' ? '-' : value);
  }
  const query = operation
    .parametersIn('query')
    .filter((_each, n) => plan.optional[n % 8])
    .map(({ name }) => `${name}=${escaped(plan.values[name])}`);
  if (mutation === 'an unknown query') query.push('colour=red');
  if (mutation === 'a repeated query') query.push(...query, 'limit=1', 'limit=2');
  if (mutation === 'an awkward query')
    query.push(
      `${['cursor', 'limit', 'customerId', 'status'][at % 4]}=${escaped(awkwardText[at % awkwardText.length])}`,
    );
  if (query.length > 0) path += `?${query.join('&')}`;
  if (mutation === 'a strange address') path += pathMutations[at % pathMutations.length] ?? '';

  const headers: Record<string, string | string[]> = {};
  if (operation.secured) headers['authorization'] = plan.authorization;
  if (mutation === 'another authorization')
    headers['authorization'] = authorizations[at % authorizations.length] ?? '';
  for (const { name } of operation.parametersIn('header')) {
    const value = String(plan.values[name])
      .replaceAll(/[^\x20-\x7e]/g, '')
      .trim();
    if (name === 'Idempotency-Key') headers['idempotency-key'] = plan.key;
    else if (plan.optional[7]) headers[name] = value;
  }
  if (mutation === 'an awkward header')
    headers[
      ['flotilla-at-least', 'last-event-id', 'traceparent', 'accept', 'x-forwarded-for'][at % 5] ?? ''
    ] = ['-1', 'x'.repeat(5_000), '00-00-00-00', '*/*;q=a', ',,,', '\u00e9\u00ff'][at % 6] ?? '';
  if (mutation === 'a repeated header') headers['x-correlation-id'] = ['a', 'b'];
  if (mutation === 'no key') delete headers['idempotency-key'];
  if (mutation === 'a strange key')
    headers['idempotency-key'] = ['', 'a b', 'x'.repeat(201), '\u00e9'][at % 4] ?? '';

  let body: string | undefined;
  if (operation.body) {
    const value = bodyMutations[mutation]?.(plan.body, at) ?? plan.body;
    invalid ||= !operation.takes(value) || !wellFormed(value);
    const changes = textMutations[mutation];
    body = JSON.stringify(value);
    if (changes) body = changes(body, at);
    headers['content-type'] = 'application/json';
    if (mutation === 'another content type') {
      headers['content-type'] = contentTypes[at % contentTypes.length] ?? '';
    }
    headers['content-length'] = String(Buffer.byteLength(body));
  }
  return { method: operation.method, path, headers, body, mutations: [mutation], invalid };
}

/** Text with NUL or half a character is text by JSON Schema; here it is not. */
function wellFormed(value: Json): boolean {
  if (typeof value === 'string') return value.isWellFormed() && !value.includes('\0');
  return typeof value !== 'object' || value === null || Object.values(value).every(wellFormed);
}

function escaped(value: Json): string {
  const written = typeof value === 'string' ? value : (JSON.stringify(value) ?? '');
  return encodeURIComponent(written.toWellFormed());
}
