import type { Submission } from './submission.ts';

/** The submissions of one key, in order. Only one group at a time takes from a chain. */
interface Chain {
  readonly key: string | undefined;
  readonly waiting: Submission[];
  taken: boolean;
}

/** What one transaction carries, and the chains that are blocked until it has ended. */
export interface Group {
  readonly members: readonly Submission[];
  readonly chains: readonly unknown[];
}

/**
 * Submissions that wait, arranged so that a group is taken in time proportional to its size, however many wait:
 * submissions with the same key (else: the same message) form a chain, and only chains that no running group has
 * taken from stand in the line.
 */
export class SubmissionQueue {
  readonly #chains = new Map<string, Chain>();
  #line: Chain[] = [];
  #head = 0;
  #size = 0;

  /** How many submissions wait. */
  get size(): number {
    return this.#size;
  }

  /** How many chains could be taken from now. */
  get ready(): number {
    return this.#line.length - this.#head;
  }

  add(submission: Submission): void {
    this.#size += 1;
    const key = chainKey(submission);
    const chain = key === undefined ? undefined : this.#chains.get(key);
    if (chain !== undefined) {
      chain.waiting.push(submission);
      return;
    }
    this.#open(key, [submission]);
  }

  /** Puts submissions that ran in vain back before all others of their chains, each to run alone. */
  addAgain(submissions: readonly Submission[], group: Group): void {
    for (const submission of submissions.toReversed()) {
      this.#size += 1;
      submission.alone = true;
      const key = chainKey(submission);
      const chain = key === undefined ? undefined : this.#chains.get(key);
      if (chain !== undefined) chain.waiting.unshift(submission);
      else this.#open(key, [submission]);
    }
    this.release(group);
  }

  /** The next group, of at most `limit`; undefined when nothing can run. Call {@link release} when it has ended. */
  take(limit: number): Group | undefined {
    const members: Submission[] = [];
    const chains: Chain[] = [];
    const messages = new Set<string>();
    while (members.length < limit && this.ready > 0) {
      const chain = this.#line[this.#head] as Chain;
      if (chain.waiting[0]?.alone === true && members.length > 0) break;
      this.#head += 1;
      chain.taken = true;
      chains.push(chain);
      const alone = this.#takeFrom(chain, members, messages, limit);
      if (alone) break;
    }
    if (this.#head > 1_024 && this.#head * 2 > this.#line.length) {
      this.#line = this.#line.slice(this.#head);
      this.#head = 0;
    }
    return members.length === 0 ? undefined : { members, chains };
  }

  /** Lets the chains of a group that has ended be taken from again. */
  release(group: Group): void {
    for (const chain of group.chains as readonly Chain[]) {
      if (!chain.taken) continue;
      chain.taken = false;
      if (chain.waiting.length > 0) this.#line.push(chain);
      else if (chain.key !== undefined) this.#chains.delete(chain.key);
    }
  }

  /** Empties the queue. */
  drop(): Submission[] {
    const dropped = this.#line.slice(this.#head).flatMap((chain) => chain.waiting.splice(0));
    for (const chain of this.#chains.values()) dropped.push(...chain.waiting.splice(0));
    this.#line = [];
    this.#head = 0;
    this.#chains.clear();
    this.#size = 0;
    return dropped;
  }

  /** Returns whether the group is complete because its member must run alone. */
  #takeFrom(chain: Chain, members: Submission[], messages: Set<string>, limit: number): boolean {
    for (;;) {
      const next = chain.waiting[0];
      if (next === undefined || members.length >= limit) return false;
      if (next.alone && members.length > 0) return false;
      const message = messageOf(next);
      if (message !== undefined) {
        // The second of two deliveries waits for the outcome of the first.
        if (messages.has(message)) return false;
        messages.add(message);
      }
      chain.waiting.shift();
      this.#size -= 1;
      members.push(next);
      if (next.alone) return true;
    }
  }

  #open(key: string | undefined, waiting: Submission[]): void {
    const chain: Chain = { key, waiting, taken: false };
    if (key !== undefined) this.#chains.set(key, chain);
    this.#line.push(chain);
  }
}

function chainKey(submission: Submission): string | undefined {
  if (submission.key !== undefined) return `key ${submission.key}`;
  const message = messageOf(submission);
  return message === undefined ? undefined : `message ${message}`;
}

function messageOf({ entry }: Submission): string | undefined {
  return entry && `${entry.consumer}/${entry.messageId}`;
}
