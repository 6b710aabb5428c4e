/** What the reply subject of a delivery says about it. */
export interface DeliveryFacts {
  readonly stream: string;
  readonly consumer: string;
  readonly attempt: number;
  readonly sequence: number;
  readonly pending: number;
}

/**
 * Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`, or the longer form
 * with domain and account after `ACK` (and a token at the end); undefined when it is neither.
 */
export function readAckSubject(reply: string | undefined): DeliveryFacts | undefined {
  if (reply === undefined || !reply.startsWith('$JS.ACK.')) return undefined;
  const tokens = reply.split('.');
  const at = tokens.length === 9 ? 2 : 4;
  if (tokens.length < 9 || tokens.length === 10) return undefined;
  return {
    stream: tokens[at] as string,
    consumer: tokens[at + 1] as string,
    attempt: Number(tokens[at + 2]),
    sequence: Number(tokens[at + 3]),
    pending: Number(tokens[at + 6]),
  };
}
