import rateLimit from '@fastify/rate-limit';
import type { Clock } from '@flotilla/kernel';
import { EventLoopLag } from '@flotilla/observability';
import { CLOCK } from '@flotilla/service';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { SwaggerModule } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { Authentication } from '../auth/authentication.ts';
import { callerAddress, FailedTokens } from '../auth/failed-tokens.ts';
import { GatewayConfig } from '../gateway.config.ts';
import { LoadShedding } from './load-shedding.ts';
import { openApiDocument } from './openapi.ts';
import { HttpProblem } from './problem.ts';

/** The callers that are counted; beyond them, those that were not seen for longest are forgotten. */
const COUNTED_CALLERS = 10_000;

const probes = /^\/(health\/(live|ready)|metrics)(\?|$)/;
const json = /^application\/json\s*(;|$)/i;

/** What the gateway adds to the HTTP server before its routes: bounds, rate limits, strictness, documentation. */
export async function configureHttp(app: NestFastifyApplication): Promise<void> {
  hardenHttp(app);
  shedLoad(app);
  await limitRates(app);
  SwaggerModule.setup('docs', app, openApiDocument(), {
    jsonDocumentUrl: 'openapi.json',
    yamlDocumentUrl: 'openapi.yaml',
    customSiteTitle: 'Flotilla API',
    // Else the page asks a foreign host whether the document is valid.
    swaggerOptions: { validatorUrl: null },
  });
}

/** Before anything is counted or verified: what there is no room for costs next to nothing. */
function shedLoad(app: NestFastifyApplication): void {
  const config = app.get(GatewayConfig);
  const shedding = new LoadShedding(config, app.get(EventLoopLag, { strict: false }));
  app.getHttpServer().maxConnections = config.maxConnections;
  app
    .getHttpAdapter()
    .getInstance()
    .addHook('onRequest', (request, reply, done) => {
      if (probes.test(request.url)) done();
      else done(shedding.admit(request, reply));
    });
}

async function limitRates(app: NestFastifyApplication): Promise<void> {
  const config = app.get(GatewayConfig);
  const authentication = app.get(Authentication);
  const failedTokens = new FailedTokens(config, app.get<Clock>(CLOCK));
  const server = app.getHttpAdapter().getInstance();
  await app.register(rateLimit, {
    global: false,
    // Asked with every request: both change without a restart.
    max: () => config.rateLimitMax,
    timeWindow: () => config.rateLimitWindowMs,
    cache: COUNTED_CALLERS,
    keyGenerator: (request: FastifyRequest) => callerKey(authentication, failedTokens, request),
    allowList: (request: FastifyRequest) => probes.test(request.url),
    errorResponseBuilder: (_request: FastifyRequest, { after }: { after: string }) =>
      new HttpProblem(429, 'rate-limited', `More requests than allowed; try again in ${after}`),
  });
  // A hook of the server and not of its routes: unknown addresses count too.
  server.addHook('onRequest', server.rateLimit());
}

/**
 * Who is counted: the subject of a valid token, else the address. A claim alone would be everybody's way around, and
 * an address that keeps sending bad tokens is counted before another one is checked.
 */
async function callerKey(
  authentication: Authentication,
  failedTokens: FailedTokens,
  request: FastifyRequest,
): Promise<string> {
  const address = callerAddress(request.ip);
  if (request.headers.authorization === undefined) return `address ${address}`;
  if (failedTokens.blockedForMs(address) > 0) return `address ${address}`;
  try {
    return `subject ${(await authentication.callerOf(request)).subject}`;
  } catch (problem) {
    if (!(problem instanceof HttpProblem)) throw problem;
    if (problem.status === 401) failedTokens.noteFailure(address);
    return `address ${address}`;
  }
}

function hardenHttp(app: NestFastifyApplication): void {
  const server = app.getHttpAdapter().getInstance();
  server.addHook('onRequest', (_request, reply, done) => {
    void reply.header('x-content-type-options', 'nosniff').header('cache-control', 'no-store');
    done();
  });
  // Nest would read forms, and Fastify plain text.
  server.addHook('preParsing', (request, _reply, payload, done) => {
    const type = request.headers['content-type'];
    if (type === undefined || json.test(type)) done(null, payload);
    else done(new HttpProblem(415, 'unsupported-media-type', 'Send JSON, as application/json'));
  });
}
