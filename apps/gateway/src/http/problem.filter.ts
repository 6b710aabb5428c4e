import { currentContext } from '@flotilla/observability';
import { Catch, Logger, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { PROBLEM_TYPE, problemDetails } from './problem.ts';
import { toProblem } from './to-problem.ts';

/** Answers every error as a problem. What the caller may not know is logged, and nothing else of it leaves. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  readonly #logger = new Logger('Http');

  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    const problem = toProblem(error);
    if (problem.status >= 500) this.#logger.error({ err: error, path: request.url }, problem.message);
    if (reply.sent) return;
    void reply
      .status(problem.status)
      .headers(problem.options.headers ?? {})
      .type(PROBLEM_TYPE)
      // As text: Fastify would change the type of an object to application/json.
      .send(
        JSON.stringify(
          problemDetails(problem, {
            instance: request.url.split('?', 1)[0],
            correlationId: currentContext()?.correlationId ?? String(reply.getHeader('x-correlation-id') ?? ''),
          }),
        ),
      );
  }
}
