import type { Socket } from 'node:net';
import { newId } from '@flotilla/kernel';
import type { ChassisConfig, HttpServerOptions } from '@flotilla/service';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { GatewayConfig } from '../gateway.config.ts';
import { HttpProblem, PROBLEM_TYPE, problemDetails } from './problem.ts';

/** A stream gets a comment this much more often than its connection would be cut for silence. */
const HEARTBEATS_WITHIN_IDLE = 4;
const LEAST_IDLE_MS = 75_000;

/** How the gateway's HTTP server is made. */
export function httpServer(config: ChassisConfig): HttpServerOptions {
  const { trustedProxies, receiveTimeoutMs, streamHeartbeatMs } = config as GatewayConfig;
  return {
    trustProxy: trustedProxies,
    receiveTimeoutMs,
    idleTimeoutMs: Math.max(LEAST_IDLE_MS, streamHeartbeatMs * HEARTBEATS_WITHIN_IDLE),
    frameworkErrors: refuseAddress,
    clientErrorHandler: refuseConnection,
  };
}

const refusals: Readonly<Record<string, HttpProblem>> = {
  ERR_HTTP_REQUEST_TIMEOUT: new HttpProblem(
    408,
    'request-too-slow',
    'The request did not come in within the time for it: send it again, faster',
  ),
  HPE_HEADER_OVERFLOW: new HttpProblem(
    431,
    'headers-too-large',
    'The headers of the request are larger than 16 KiB together: send less',
  ),
};
const notHttp = new HttpProblem(400, 'malformed-http', 'This is not a request in HTTP/1.1 that can be read');
const phrases: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  408: 'Request Timeout',
  431: 'Request Header Fields Too Large',
};

/** Answers an address that cannot be routed, which no filter gets to see. */
function refuseAddress(
  error: Error & { readonly code?: string },
  _request: FastifyRequest,
  reply: FastifyReply,
): void {
  const problem =
    error.code === 'FST_ERR_MAX_PARAM_LENGTH'
      ? new HttpProblem(414, 'address-too-long', 'A part of the address is longer than 500 characters')
      : new HttpProblem(
          400,
          'malformed-address',
          'The address has an escape that is none: after % come two hexadecimal digits, and all of it is UTF-8',
        );
  const correlationId = newId();
  void reply
    .status(problem.status)
    .headers({
      'x-correlation-id': correlationId,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    .type(PROBLEM_TYPE)
    // As text: Fastify would change the type of an object. The address is not repeated: it is no text that JSON can have.
    .send(JSON.stringify(problemDetails(problem, { instance: undefined, correlationId })));
}

/** Answers what never became a request as a problem too, and ends the connection. Nothing of it is logged. */
export function refuseConnection(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  const problem = refusals[error.code ?? ''] ?? notHttp;
  if (socket.writable) {
    const correlationId = newId();
    const body = JSON.stringify(problemDetails(problem, { instance: undefined, correlationId }));
    socket.end(
      [
        `HTTP/1.1 ${problem.status} ${phrases[problem.status] ?? 'Error'}`,
        'connection: close',
        `content-type: ${PROBLEM_TYPE}`,
        `content-length: ${Buffer.byteLength(body)}`,
        `x-correlation-id: ${correlationId}`,
        '',
        body,
      ].join('\r\n'),
    );
  }
  // Whoever does not take the answer is not waited for.
  socket.destroySoon();
}
