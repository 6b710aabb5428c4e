import { newId } from '@flotilla/kernel';
import type { JsonSchema, Operation } from './openapi.ts';
import type { RawRequest } from './raw-http.ts';

/** What callers must not send, and do: each is told from everything else wherever it turns up. */
export const canaries = {
  card: '4929420573595709',
  email: 'kanarie@leak.example',
  token: 'tok_kanarie_4d1c9a',
} as const;

export type Canary = keyof typeof canaries;

/** The canaries that are in a text, in whatever way they are written there. */
export function canariesIn(text: string): string[] {
  const plain = text.replaceAll(/\\u0040|%40|=40|&#64;/gi, '@');
  return [...Object.values(canaries), 'kanarie'].filter((each) => plain.includes(each));
}

/** The value with the canary for every text that callers choose freely. */
function withCanary(schema: JsonSchema, canary: Canary, name = ''): unknown {
  const { enum: choices, anyOf, oneOf } = schema as Record<string, readonly JsonSchema[] | undefined>;
  const first = choices?.[0] ?? (anyOf ?? oneOf)?.[0];
  if (choices) return first;
  if (first) return withCanary(first, canary, name);
  switch (schema['type']) {
    case 'object': {
      const properties = (schema['properties'] ?? {}) as Readonly<Record<string, JsonSchema>>;
      return Object.fromEntries(
        Object.entries(properties).map(([field, each]) => [field, withCanary(each, canary, field)]),
      );
    }
    case 'array':
      return [withCanary((schema['items'] ?? {}) as JsonSchema, canary, name)];
    case 'integer':
    case 'number':
      return schema['minimum'] ?? 1;
    case 'boolean':
      return true;
    default:
      return textWithCanary(schema, canary, name);
  }
}

function textWithCanary(schema: JsonSchema, canary: Canary, name: string): string {
  if (schema['format'] === 'uuid') return newId();
  if (schema['format'] === 'email') return canaries.email;
  if (name === 'amount') return '1.00';
  if (name === 'currency') return 'GBP';
  return canaries[canary];
}

/** The same body with the canary where nothing is expected: as a name, as a value of the wrong type, in rubbish. */
function spoiled(body: unknown, canary: Canary): string[] {
  const value = canaries[canary];
  const fields = typeof body === 'object' && body !== null ? body : {};
  return [
    JSON.stringify({ ...fields, [value]: value }),
    JSON.stringify(
      Object.fromEntries(Object.keys(fields).map((name) => [name, [value, { [value]: value }]])),
    ),
    `{"${value}": `,
    JSON.stringify(value),
  ];
}

/** Requests to an operation with a canary in every place that takes a text, those that are valid first. */
export function canaryRequests(operation: Operation, canary: Canary, authorization: string): RawRequest[] {
  const value = canaries[canary];
  const escaped = encodeURIComponent(value);
  const body = operation.body && withCanary(operation.body, canary);
  const pathWith = (parameter: (name: string, schema: JsonSchema) => string) =>
    operation
      .parametersIn('path')
      .reduce((path, { name, schema }) => path.replace(`{${name}}`, parameter(name, schema)), operation.path);
  const path = pathWith((name, schema) => encodeURIComponent(textWithCanary(schema, canary, name)));
  const query = operation
    .parametersIn('query')
    .map(({ name, schema }) => `${name}=${encodeURIComponent(String(withCanary(schema, canary, name)))}`);
  const headers = {
    ...(operation.secured && { authorization }),
    'idempotency-key': `${value}-${newId()}`,
    ...(body !== undefined && { 'content-type': 'application/json' }),
    cookie: `session=${value}`,
    referer: `http://shop.example/pay?card=${escaped}`,
    'user-agent': value,
    'x-api-key': value,
  };
  const request: RawRequest = {
    method: operation.method,
    path: query.length > 0 ? `${path}?${query.join('&')}` : path,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  };
  const elsewhere: RawRequest[] = [
    { ...request, path: `${path}?${escaped}=${escaped}` },
    { ...request, path: pathWith(() => escaped) },
    { ...request, path: `${path}/${escaped}` },
    { ...request, path: `${path}/%zz${escaped}` },
    { ...request, headers: { ...headers, authorization: `Bearer ${value}` } },
    { ...request, headers: { ...headers, authorization: `Bearer eyJhbGciOiJFUzI1NiJ9.${value}.${value}` } },
    // Of what is no id for a correlation, none is made; a plain word of the caller's is theirs to choose.
    { ...request, headers: { ...headers, 'x-correlation-id': canary === 'token' ? `eyJ${value}` : value } },
    {
      ...request,
      headers: { ...headers, 'flotilla-at-least': value, 'last-event-id': value, accept: value },
    },
    { ...request, headers: { ...headers, 'content-type': `text/${canary === 'email' ? 'kanarie' : value}` } },
    {
      ...request,
      headers: { ...headers, traceparent: value, 'x-forwarded-for': value, 'x-forwarded-proto': value },
    },
    {
      ...request,
      headers: Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'idempotency-key')),
    },
  ];
  const bodies = operation.body ? spoiled(body, canary).map((each) => ({ ...request, body: each })) : [];
  return [request, ...elsewhere, ...bodies];
}
