import { MsgHdrsImpl, type MsgHdrs } from '@nats-io/nats-core';
import { InvalidHeaderError } from '../messaging.errors.ts';

/** Headers for the wire. The client's own way checks each name against all before it; ours are distinct already. */
export function toNatsHeaders(headers: Readonly<Record<string, string>>): MsgHdrs {
  const values: Record<string, string[]> = {};
  for (const name in headers) {
    const value = headers[name] as string;
    if (/[\r\n]/.test(value) || !/^[!-9;-~]+$/.test(name)) throw new InvalidHeaderError(name);
    values[name] = [value];
  }
  return MsgHdrsImpl.fromRecord(values);
}

const none: Readonly<Record<string, string>> = Object.freeze({});

/** Headers of a received message; of one that is repeated, the first. */
export function fromNatsHeaders(headers: MsgHdrs | undefined): Readonly<Record<string, string>> {
  if (headers === undefined) return none;
  const record: Record<string, string> = {};
  for (const [name, values] of headers) record[name] = values[0] ?? '';
  return record;
}
