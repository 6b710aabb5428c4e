import type { OrderVersion } from '@flotilla/contracts-tracking';
import { isUuid } from '@flotilla/kernel';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HttpProblem } from './problem.ts';

/** The header of an answer to a write: names what was written, so that a reader can ask for it. */
export const CONSISTENCY_TOKEN = 'flotilla-consistency-token';
/** The header of a read: the tokens, comma-separated, of the writes that the answer has to show. */
export const AT_LEAST = 'flotilla-at-least';

/** As many writes as a read may ask for. */
const MAX_TOKENS = 10;

/** Gives the answer to a write its token. Without a version, of a service that does not tell it yet, there is none. */
export function noteWrite(
  reply: FastifyReply,
  { orderId, version }: { readonly orderId: string; readonly version?: number | undefined },
): void {
  if (version === undefined) return;
  void reply.header(CONSISTENCY_TOKEN, Buffer.from(`order ${orderId} ${version}`).toString('base64url'));
}

/** What a read has to show, by its header; undefined without one. Throws a problem for what is no token. */
export function atLeastOf(request: FastifyRequest): OrderVersion[] | undefined {
  const header = request.headers[AT_LEAST];
  if (header === undefined) return undefined;
  const tokens = String(header)
    .split(',')
    .map((token) => token.trim())
    .filter((token) => token !== '');
  if (tokens.length > MAX_TOKENS) {
    throw new HttpProblem(400, 'invalid-request', `Send at most ${MAX_TOKENS} tokens in Flotilla-At-Least`);
  }
  return tokens.map(readToken);
}

function readToken(token: string): OrderVersion {
  const [kind, orderId = '', version, ...rest] = Buffer.from(token, 'base64url').toString('utf8').split(' ');
  if (kind !== 'order' || !isUuid(orderId) || !/^[1-9]\d{0,8}$/.test(version ?? '') || rest.length > 0) {
    throw new HttpProblem(
      400,
      'invalid-request',
      'Flotilla-At-Least must be the Flotilla-Consistency-Token of an earlier answer, as it was',
    );
  }
  return { orderId, version: Number(version) };
}
