import { InvalidReplyError, parseWith, type Contract } from '@flotilla/contracts-protocol';

/** What a contract allows of a reply; undefined where it has none. Throws {@link InvalidReplyError} with all problems. */
export function checkedReply(contract: Contract, reply: unknown): unknown {
  if (contract.reply === undefined) return undefined;
  return parseWith(contract.reply, reply, (problems) => new InvalidReplyError(contract.type, problems));
}
