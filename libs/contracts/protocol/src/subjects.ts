import { partitionOf } from '@flotilla/kernel';
import type { Contract } from './define.ts';

/** What of a contract its subjects are made of. */
export type ContractName = Pick<Contract, 'owner' | 'name' | 'version'>;

/** The one stream that keeps every service's dead letters. */
export const DEAD_LETTER_STREAM = 'DLQ';

const utf8 = new TextEncoder();

/**
 * A key as one token of a NATS subject: letters, digits, `_` and `-` stand as they are; every other byte of
 * its UTF-8 becomes `=XX` (hexadecimal), an empty key becomes `=`.
 */
export function subjectToken(key: string): string {
  if (/^[A-Za-z0-9_-]+$/.test(key)) return key;
  return key === '' ? '=' : key.replace(/[^A-Za-z0-9_-]+/g, escaped);
}

function escaped(characters: string): string {
  let token = '';
  for (const byte of utf8.encode(characters)) token += `=${byte.toString(16).padStart(2, '0').toUpperCase()}`;
  return token;
}

/** The key that {@link subjectToken} made a token of. */
export function keyOfToken(token: string): string {
  if (token === '=') return '';
  if (!token.includes('=')) return token;
  return decodeURIComponent(token.replaceAll('=', '%'));
}

/** Request/reply over core NATS: `rpc.<owner>.<Name>.v<N>`. */
export function rpcSubject({ owner, name, version }: ContractName): string {
  return `rpc.${owner}.${name}.v${version}`;
}

/** A durable command: `cmd.<owner>.<Name>.v<N>.<partition>.<key>`. */
export function commandSubject({ owner, name, version }: ContractName, key: string): string {
  return `cmd.${owner}.${name}.v${version}.${partitionOf(key)}.${subjectToken(key)}`;
}

/** An event: `evt.<owner>.<Name>.v<N>.<partition>.<aggregateId>`. */
export function eventSubject({ owner, name, version }: ContractName, aggregateId: string): string {
  return `evt.${owner}.${name}.v${version}.${partitionOf(aggregateId)}.${subjectToken(aggregateId)}`;
}

/** The answer to a durable command: `reply.<service>.<partition>.<key>`. */
export function replySubject(service: string, key: string): string {
  return `reply.${service}.${partitionOf(key)}.${subjectToken(key)}`;
}

/** A dead letter of a service's consumer: `dlq.<service>.<consumer>`. */
export function deadLetterSubject(service: string, consumer: string): string {
  return `dlq.${service}.${subjectToken(consumer)}`;
}

/** All durable commands of a contract, or those of one partition. */
export function commandFilter({ owner, name, version }: ContractName, partition?: number): string {
  return `cmd.${owner}.${name}.v${version}.${partition ?? '*'}.*`;
}

/** All events of a contract, or those of one partition. */
export function eventFilter({ owner, name, version }: ContractName, partition?: number): string {
  return `evt.${owner}.${name}.v${version}.${partition ?? '*'}.*`;
}

/** All answers that a service waits for. */
export function replyFilter(service: string): string {
  return `reply.${service}.>`;
}

// Stream names may hold `-`; it is kept, so that the name is the owner's own.
/** The work queue of a service's durable commands. */
export function commandStream(owner: string): string {
  return `CMD_${owner}`;
}

/** The stream of a service's events. */
export function eventStream(owner: string): string {
  return `EVT_${owner}`;
}

/** The stream of the answers that a service waits for. */
export function replyStream(service: string): string {
  return `REPLY_${service}`;
}
