import type { Clock } from '@flotilla/kernel';
import { runWithContext } from '@flotilla/observability';
import { CLOCK, wasReplayed } from '@flotilla/service';
import {
  Inject,
  Injectable,
  type CallHandler,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Observable, tap } from 'rxjs';
import { GatewayConfig } from '../gateway.config.ts';
import { REPLAYED } from './idempotency.ts';
import { routeOf } from './route.ts';

/** Gives everything that a request asks of other services one deadline. A stream of events has none. */
@Injectable()
export class DeadlineInterceptor implements NestInterceptor {
  constructor(
    private readonly config: GatewayConfig,
    @Inject(CLOCK) private readonly clock: Clock,
  ) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const route = routeOf(context.getHandler());
    if (!route || route.answer.contentType !== undefined) return next.handle();
    const deadline = this.clock.now() + this.config.requestDeadlineMs;
    return new Observable((subscriber) =>
      runWithContext({ deadline }, () => next.handle().subscribe(subscriber)),
    );
  }
}

/** Tells a caller with a header that this is the answer of an earlier time to the same `Idempotency-Key`. */
@Injectable()
export class ReplayedInterceptor implements NestInterceptor {
  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const reply = context.switchToHttp().getResponse<FastifyReply>();
    return next.handle().pipe(
      tap((answer) => {
        if (wasReplayed(answer)) void reply.header(REPLAYED, 'true');
      }),
    );
  }
}
