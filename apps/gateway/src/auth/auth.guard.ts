import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { HttpProblem } from '../http/problem.ts';
import { routeOf } from '../http/route.ts';
import { requireScope, setCaller } from './caller.ts';
import { TokenVerifier } from './token-verifier.ts';

/** Probes and metrics: answered by the chassis, to the platform. */
const open = new Set(['/health/live', '/health/ready', '/metrics']);

/** Lets a request through if its route is public or its token has the route's scope. A route without an entry is closed. */
@Injectable()
export class AuthGuard implements CanActivate {
  constructor(private readonly tokens: TokenVerifier) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const route = routeOf(context.getHandler());
    if (!route) {
      if (open.has(request.routeOptions.url ?? '')) return true;
      throw new HttpProblem(403, 'route-closed', 'This route is not open to anybody');
    }
    if (route.access === 'public') return true;
    const [scheme, token] = (request.headers.authorization ?? '').split(' ', 2);
    if (scheme?.toLowerCase() !== 'bearer' || token === undefined || token === '') {
      throw new HttpProblem(401, 'token-missing', 'Send a token: Authorization: Bearer ...', {
        headers: { 'www-authenticate': 'Bearer' },
      });
    }
    const caller = await this.tokens.verify(token);
    setCaller(request, caller);
    requireScope(caller, route.access, `${route.method} ${route.path}`);
    return true;
  }
}
