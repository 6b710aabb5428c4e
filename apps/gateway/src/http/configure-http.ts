import rateLimit from '@fastify/rate-limit';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { SwaggerModule } from '@nestjs/swagger';
import { decodeJwt } from 'jose';
import type { FastifyRequest } from 'fastify';
import { GatewayConfig } from '../gateway.config.ts';
import { openApiDocument } from './openapi.ts';
import { HttpProblem } from './problem.ts';

const API_VERSION = '1.0.0';
const unlimited = /^\/(health\/|metrics$)/;

/** What the gateway adds to the HTTP server before its routes: rate limits, documentation. */
export async function configureHttp(app: NestFastifyApplication): Promise<void> {
  const { rateLimitMax, rateLimitWindowMs } = app.get(GatewayConfig);
  await app.register(rateLimit, {
    max: rateLimitMax,
    timeWindow: rateLimitWindowMs,
    // A bound on memory: the callers that were not seen for longest are forgotten.
    cache: 10_000,
    keyGenerator: callerKey,
    allowList: (request: FastifyRequest) => unlimited.test(request.url),
    errorResponseBuilder: (_request: FastifyRequest, context: { after: string }) =>
      new HttpProblem(429, 'rate-limited', `More requests than allowed; try again in ${context.after}`),
  });
  SwaggerModule.setup('docs', app, openApiDocument(API_VERSION), {
    jsonDocumentUrl: 'openapi.json',
    yamlDocumentUrl: 'openapi.yaml',
    customSiteTitle: 'Flotilla API',
  });
}

/** Who is counted: the subject that the token claims, else the address. The claim is checked later, by the guard. */
function callerKey(request: FastifyRequest): string {
  const token = request.headers.authorization?.split(' ', 2)[1];
  if (token !== undefined) {
    try {
      // With the address, so that a forged subject cannot use up another's share.
      return `${decodeJwt(token).sub ?? ''} ${request.ip}`;
    } catch {
      return request.ip;
    }
  }
  return request.ip;
}
