import { newId } from '@flotilla/kernel';
import { wasReplayed } from '@flotilla/service';
import { Catch, Logger, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { REPLAYED } from './idempotency.ts';
import { PROBLEM_TYPE, problemDetails } from './problem.ts';
import { toProblem } from './to-problem.ts';

const CORRELATION_ID = 'x-correlation-id';

/** Answers every error as a problem. What the caller may not know is logged, and nothing else of it leaves. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  readonly #logger = new Logger('Http');

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    const problem = toProblem(error);
    if (reply.sent) {
      this.#logger.error({ err: error, route: routeName(request) }, 'Failed after the answer was sent');
      return;
    }
    // An address that cannot be read is refused before the chassis has given the request its id.
    const correlationId = String(reply.getHeader(CORRELATION_ID) ?? newId());
    if (problem.status >= 500) {
      this.#logger.error({ err: error, route: routeName(request), correlationId }, problem.message);
    }
    if (wasReplayed(error)) void reply.header(REPLAYED, 'true');
    void reply
      .status(problem.status)
      .headers({ ...problem.options.headers, [CORRELATION_ID]: correlationId })
      .type(PROBLEM_TYPE)
      // As text: Fastify would change the type of an object to application/json.
      .send(
        JSON.stringify(problemDetails(problem, { instance: request.url.split('?', 1)[0], correlationId })),
      );
  }
}

/** For the log: the pattern and not the address, in which callers' words stand. */
function routeName({ method, routeOptions }: FastifyRequest): string {
  return `${method} ${routeOptions.url ?? 'unmatched'}`;
}
