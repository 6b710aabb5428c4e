import type { OpenAPIObject } from '@nestjs/swagger';
import { z } from 'zod';
import { scopes } from '../auth/scopes.ts';
import { PROBLEM_TYPE } from './problem.ts';
import type { Route } from './route.ts';
import { routes } from './routes.ts';

/** The version of the HTTP API: its documents carry it. */
export const API_VERSION = '1.0.0';

type Json = Record<string, unknown>;

const problemReasons: Readonly<Record<number, string>> = {
  400: 'The request is not valid',
  401: 'No token, or one that is not valid',
  403: 'The token lacks a scope',
  404: 'There is no such thing, or it is not yours',
  409: 'Not possible in the present state',
  413: 'The body is too large',
  414: 'A part of the address is too long',
  415: 'The body is not JSON',
  422: 'Refused; the detail says why',
  429: 'Too many requests',
  500: 'Internal error',
  502: 'A service failed',
  503: 'A service is not available; try again',
};

/** The OpenAPI 3.1 document of the API, made from its routes. */
export function openApiDocument(version: string = API_VERSION): OpenAPIObject {
  const paths: Record<string, Json> = {};
  for (const route of Object.values<Route>(routes)) {
    const path = (paths[route.path] ??= {});
    path[route.method.toLowerCase()] = operation(route);
  }
  const document = {
    openapi: '3.1.0',
    info: {
      title: 'Flotilla',
      version,
      description: 'Orders, returns, products and stock. Errors are problem details (RFC 9457).',
    },
    paths,
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: scopeList() },
      },
      schemas: { Problem: problemSchema },
    },
  };
  // The schemas are JSON Schema 2020-12, which OpenAPI 3.1 takes as they are; the type knows 3.0 only.
  return document as unknown as OpenAPIObject;
}

const problemSchema = {
  type: 'object',
  required: ['type', 'title', 'status', 'detail'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    instance: { type: 'string' },
    correlationId: { type: 'string' },
    errors: {
      type: 'array',
      items: { type: 'object', properties: { path: { type: 'string' }, message: { type: 'string' } } },
    },
    data: {},
  },
};

function operation(route: Route): Json {
  const parameters = [
    ...parametersOf('path', route.params),
    ...parametersOf('query', route.query),
    ...parametersOf('header', route.headers),
    ...(route.idempotencyKey
      ? [
          {
            name: 'Idempotency-Key',
            in: 'header',
            required: true,
            description:
              'Your own name for this request: repeated with it, it is done once and answered alike',
            schema: { type: 'string', minLength: 1, maxLength: 200 },
          },
        ]
      : []),
  ];
  return {
    operationId: operationId(route),
    tags: [route.tag],
    summary: route.summary,
    ...(route.access !== 'public' && {
      security: [{ token: [] }],
      description: `Scope: \`${route.access}\``,
    }),
    ...(parameters.length > 0 && { parameters }),
    ...(route.body && {
      requestBody: {
        required: !route.body.safeParse(undefined).success,
        content: { 'application/json': { schema: schemaOf(route.body, 'input') } },
      },
    }),
    responses: responsesOf(route),
  };
}

function operationId(route: Route): string {
  const found = Object.entries<Route>(routes).find(([, each]) => each === route);
  return found?.[0] ?? `${route.method} ${route.path}`;
}

function responsesOf({ status, answer, access, params, body, problems = [] }: Route): Json {
  const always = [
    400,
    ...(access === 'public' ? [] : [401, 403]),
    ...(params ? [414] : []),
    ...(body ? [413, 415] : []),
    429,
    500,
    502,
    503,
  ];
  const type = answer.contentType ?? 'application/json';
  const responses: Json = {
    [status]: {
      description: answer.description,
      ...(answer.headers && { headers: headersOf(answer.headers) }),
      content: { [type]: { schema: answer.schema ? schemaOf(answer.schema, 'output') : {} } },
    },
  };
  for (const each of new Set([...always, ...problems])) {
    responses[each] = {
      description: problemReasons[each] ?? 'Error',
      content: { [PROBLEM_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } },
    };
  }
  return responses;
}

function headersOf(headers: Readonly<Record<string, string>>): Json {
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
  );
}

function parametersOf(place: 'path' | 'query' | 'header', schema: z.ZodObject | undefined): Json[] {
  if (!schema) return [];
  const { properties = {}, required = [] } = schemaOf(schema, 'input') as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    schema: property,
  }));
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): Json {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as Json;
  return rest;
}

function scopeList(): string {
  return Object.entries(scopes)
    .map(([scope, allows]) => `- \`${scope}\`: ${allows}`)
    .join('\n');
}
