import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { HttpProblem } from '../http/problem.ts';
import { routeOf } from '../http/route.ts';
import { Authentication } from './authentication.ts';
import { requireScope, setCaller } from './caller.ts';

/** Probes and metrics: answered by the chassis, to the platform. */
const open = new Set(['/health/live', '/health/ready', '/metrics']);

/** Lets a request through if its route is public or its token has the route's scope. A route without an entry is closed. */
@Injectable()
export class AuthGuard implements CanActivate {
  constructor(private readonly authentication: Authentication) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const route = routeOf(context.getHandler());
    if (!route) {
      if (open.has(request.routeOptions.url ?? '')) return true;
      throw new HttpProblem(403, 'route-closed', 'This route is not open to anybody');
    }
    if (route.access === 'public') return true;
    const caller = await this.authentication.callerOf(request);
    requireScope(caller, route.access, `${route.method} ${route.path}`);
    setCaller(request, caller);
    return true;
  }
}
