import { QUEUE_METADATA } from '@flotilla/messaging';
import {
  jetstreamManager,
  type ConsumerInfo,
  type JetStreamManager,
  type StreamInfo,
} from '@nats-io/jetstream';
import type { NatsConnection } from '@nats-io/nats-core';

/** Messages of a queue that no consumer reads: they would wait for ever, and nobody would know. */
export interface UnreadMessages {
  readonly stream: string;
  /** What they have in common: `cmd.inventory.ReserveStock.v9`. */
  readonly subject: string;
  readonly messages: number;
  /** When the oldest was stored, ISO 8601; undefined when it is gone meanwhile. */
  readonly since: string | undefined;
}

/** A queue with more subjects than this has other worries, and listing them would be one more. */
const MAX_SUBJECTS = 100_000;
/** `cmd.<owner>.<Name>.v<N>`; what follows is partition and key. */
const TYPE_TOKENS = 4;

/**
 * What lies in the queues on subjects that no consumer of theirs reads, the oldest first: a version that nobody handles
 * yet or any more, a name that is written wrong. Events without a reader are no trouble, and not looked at.
 */
export async function unreadMessages(connection: NatsConnection): Promise<UnreadMessages[]> {
  const manager = await jetstreamManager(connection, { checkAPI: false });
  const unread: UnreadMessages[] = [];
  for await (const stream of manager.streams.list()) {
    if (!isQueue(stream) || stream.state.messages === 0) continue;
    if ((stream.state.num_subjects ?? 0) > MAX_SUBJECTS) continue;
    unread.push(...(await unreadOf(manager, stream.config.name)));
  }
  return unread.sort((a, b) => (a.since ?? '').localeCompare(b.since ?? ''));
}

/** One line, with what to do. */
export function unreadLine({ stream, subject, messages, since }: UnreadMessages): string {
  return (
    `${messages} message(s) on ${subject} in ${stream}${since === undefined ? '' : ` since ${since.slice(0, 19)}Z`}, which no consumer reads: ` +
    'start the version of its service that handles it and run "fleet provision", then "fleet repair" has them sent once more; ' +
    'or stop whoever sends it'
  );
}

async function unreadOf(manager: JetStreamManager, stream: string): Promise<UnreadMessages[]> {
  const filters: string[] = [];
  for await (const consumer of manager.consumers.list(stream)) filters.push(...filtersOf(consumer));
  const { state } = await manager.streams.info(stream, { subjects_filter: '>' });
  const counts = new Map<string, number>();
  for (const [subject, count] of Object.entries(state.subjects ?? {})) {
    if (filters.some((filter) => subjectMatches(filter, subject))) continue;
    const tokens = subject.split('.');
    const type = tokens.length > TYPE_TOKENS ? tokens.slice(0, TYPE_TOKENS).join('.') : subject;
    counts.set(type, (counts.get(type) ?? 0) + count);
  }
  return Promise.all(
    [...counts].map(async ([subject, messages]) => {
      const oldest = await Promise.all(
        [subject, `${subject}.>`].map((each) => oldestOn(manager, stream, each)),
      );
      const [since] = oldest.filter((each) => each !== undefined).sort();
      return { stream, subject, messages, since };
    }),
  );
}

async function oldestOn(
  manager: JetStreamManager,
  stream: string,
  filter: string,
): Promise<string | undefined> {
  const message = await manager.direct.getMessage(stream, { seq: 1, next_by_subj: filter });
  return message?.time.toISOString();
}

function isQueue({ config }: StreamInfo): boolean {
  return Object.entries(QUEUE_METADATA).every(([key, value]) => config.metadata?.[key] === value);
}

/** No filter is all. */
function filtersOf({ config }: ConsumerInfo): readonly string[] {
  if (config.filter_subjects !== undefined) return config.filter_subjects;
  return [config.filter_subject === undefined || config.filter_subject === '' ? '>' : config.filter_subject];
}

/** Whether a subject fits a filter with NATS's wildcards: `*` is one token, `>` at the end one or more. */
function subjectMatches(filter: string, subject: string): boolean {
  const wanted = filter.split('.');
  const tokens = subject.split('.');
  const rest = wanted.indexOf('>');
  if (rest >= 0 ? tokens.length <= rest : tokens.length !== wanted.length) return false;
  return wanted
    .slice(0, rest >= 0 ? rest : undefined)
    .every((each, at) => each === '*' || each === tokens[at]);
}
