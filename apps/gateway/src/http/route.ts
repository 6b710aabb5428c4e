import { applyDecorators, HttpCode, RequestMapping, RequestMethod, SetMetadata } from '@nestjs/common';
import type { z } from 'zod';
import type { Scope } from '../auth/scopes.ts';

const ROUTE = 'gateway:route';

export interface RouteAnswer {
  readonly description: string;
  readonly schema?: z.ZodType;
  /** Default `application/json`. */
  readonly contentType?: string;
  /** Headers that the answer has, and what each says. */
  readonly headers?: Readonly<Record<string, string>>;
}

/** One route of the API: what it takes, who may use it, what it answers. The OpenAPI document is made of these. */
export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT';
  /** With `{name}` for a parameter, as in OpenAPI. */
  readonly path: string;
  readonly summary: string;
  readonly tag: string;
  /** The scope that the caller needs; `public`: nobody has to say who they are. */
  readonly access: Scope | 'public';
  readonly params?: z.ZodObject;
  readonly query?: z.ZodObject;
  /** By their names in small letters. */
  readonly headers?: z.ZodObject;
  readonly body?: z.ZodType;
  /** Whether the route takes (and, changing something, needs) an `Idempotency-Key`. */
  readonly idempotencyKey?: boolean;
  readonly status: number;
  readonly answer: RouteAnswer;
  /** What else it may answer, beside what every route may (400, 401, 403, 429 and so on; with a body, 413 and 415). */
  readonly problems?: readonly number[];
}

const methods = { GET: RequestMethod.GET, POST: RequestMethod.POST, PUT: RequestMethod.PUT };

/** Makes a controller's method serve a route. */
export function Serves(route: Route): MethodDecorator {
  return applyDecorators(
    RequestMapping({ path: route.path.replaceAll(/\{(\w+)\}/g, ':$1'), method: methods[route.method] }),
    HttpCode(route.status),
    SetMetadata(ROUTE, route),
  );
}

/** The route that a controller's method serves. */
export function routeOf(handler: object): Route | undefined {
  return Reflect.getMetadata(ROUTE, handler) as Route | undefined;
}
