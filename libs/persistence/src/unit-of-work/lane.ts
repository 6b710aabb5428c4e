import type { DataSource, QueryRunner } from 'typeorm';
import { BusinessError } from '@flotilla/contracts-protocol';
import { errorMessage } from '@flotilla/kernel';
import { PipelinedClient } from '../connection/pipelined-client.ts';
import {
  addToInbox,
  enterInbox,
  inboxKey,
  type HandledMessage,
  type KnownMessage,
} from '../inbox/inbox-statements.ts';
import { addToOutbox, type OutboxRow } from '../outbox/outbox-row.ts';
import {
  CommitOutcomeUnknownError,
  DatabaseUnavailableError,
  IdempotencyConflictError,
  PersistenceOptionsError,
  TransactionControlError,
  UnitOfWorkFailedError,
  UnitOfWorkTimedOutError,
} from '../persistence.errors.ts';
import { unitStorage } from './active-unit-of-work.ts';
import { BulkStatements } from './bulk-statements.ts';
import { MemberUnit } from './member-unit.ts';
import type { Group } from './submission-queue.ts';
import type { Processed, Submission } from './submission.ts';

/** How the transaction of a group ended. */
export type GroupResult =
  | {
      readonly outcome: 'committed';
      readonly rows: readonly OutboxRow[];
      readonly afterCommit: readonly (() => void)[];
      /** Answers the members. */
      readonly answer: () => void;
    }
  /** Every member failed by itself, or had nothing to do: there was nothing to commit. */
  | { readonly outcome: 'rolled_back' }
  /**
   * The group was undone. `pending` are the members that nobody answered yet; `again`: the failure may lie with one of
   * them, so that the others deserve another run.
   */
  | {
      readonly outcome: 'failed';
      readonly pending: readonly Submission[];
      readonly error: Error;
      readonly again: 'in sequence' | 'alone' | false;
    };

/** A member whose work has ended, but whose promise waits for the commit. */
interface Ended {
  readonly submission: Submission;
  readonly unit: MemberUnit;
  readonly answer: { readonly outcome: Processed<unknown> } | { readonly error: unknown };
}

/**
 * One connection that runs groups, one at a time:
 *
 *     BEGIN, locks + inbox lookup, SAVEPOINT      one round trip
 *     the members' works, one after another       their own; the savepoints between them travel along
 *       (independent ones: wave by wave, those of one at the same time, without savepoints)
 *     inbox rows, outbox rows, COMMIT             one round trip
 */
export class Lane {
  readonly #dataSource: DataSource;
  readonly #owner: object;
  readonly #relay: () => boolean;
  readonly #now: () => number;
  #runner: QueryRunner | undefined;
  #client: PipelinedClient | undefined;
  /** The first statement of the lane itself that failed in the running group. */
  #fault: unknown;
  /** Resolves when the running group is cut off. */
  #cut: PromiseWithResolvers<Cut> | undefined;

  constructor(dataSource: DataSource, owner: object, options: { relay: () => boolean; now: () => number }) {
    this.#dataSource = dataSource;
    this.#owner = owner;
    this.#relay = options.relay;
    this.#now = options.now;
  }

  get hasConnection(): boolean {
    return this.#runner !== undefined;
  }

  /** Cuts the connection: the running group fails with `reason`, even if a work of it never ends. */
  abort(reason: Error): void {
    this.#client?.abort(reason);
    this.#cut?.resolve({ reason });
  }

  /** Gives the connection back to the pool; not while a group runs. */
  async release(): Promise<void> {
    const runner = this.#runner;
    this.#runner = undefined;
    this.#client = undefined;
    if (runner !== undefined && !runner.isReleased) {
      setTransactionState(runner, false);
      await runner.release();
    }
  }

  /** Runs the group to its end. Members that failed by themselves, and duplicates, are answered here. */
  async run(group: Group, onWork: () => void): Promise<GroupResult> {
    const { members } = group;
    const overlap = group.independent && members.length > 1;
    const pending = new Set(members);
    let committing = false;
    this.#cut = Promise.withResolvers();
    try {
      await this.#connect();
    } catch (error) {
      return {
        outcome: 'failed',
        pending: members,
        error: new DatabaseUnavailableError(error),
        again: false,
      };
    }
    try {
      this.#connected().client.guard = overlap ? guardOverlapping : guardUnit;
      const known = await this.#begin(members, group.independent ? BEGIN_BY_KEY : BEGIN);
      const fresh = members.filter((submission) => {
        const message = submission.entry && known.get(inboxKey(submission.entry));
        if (message === undefined) return true;
        pending.delete(submission);
        answerDuplicate(submission, message);
        return false;
      });
      const ended: Ended[] = [];
      const settle = (submission: Submission, result: Ended | undefined): void => {
        if (result === undefined) pending.delete(submission);
        else ended.push(result);
      };
      if (overlap) await this.#overlap(group.waves, new Set(fresh), settle, onWork);
      else await this.#inSequence(fresh, settle, onWork);
      if (ended.length === 0) {
        await this.#rollBack();
        return { outcome: 'rolled_back' };
      }
      committing = true;
      const rows = await this.#commit(ended);
      const afterCommit = ended.flatMap(({ submission, unit }) =>
        unit.afterCommitActions.map((action) => () => submission.inContext(action)),
      );
      return { outcome: 'committed', rows, afterCommit, answer: () => answerAll(ended) };
    } catch (error) {
      const lost = this.#client?.lost;
      const cause = lost ?? this.#fault ?? error;
      if (lost === undefined) await this.#rollBack();
      else this.#discard();
      const failure =
        committing && lost !== undefined
          ? new CommitOutcomeUnknownError(cause)
          : new UnitOfWorkFailedError(
              lost === undefined
                ? 'because the database refused its transaction'
                : 'because its connection was lost',
              cause,
            );
      const again = lost !== undefined || members.length === 1 ? false : overlap ? 'in sequence' : 'alone';
      return { outcome: 'failed', pending: [...pending], error: failure, again };
    } finally {
      if (this.#client !== undefined) this.#client.guard = undefined;
      this.#fault = undefined;
      this.#cut = undefined;
    }
  }

  /** One after another, each in a savepoint, so that one can fail without the others. */
  async #inSequence(members: readonly Submission[], settle: Settle, onWork: () => void): Promise<void> {
    const withSavepoints = members.length > 1 || members.some(needsSavepoint);
    let savepoint = 0;
    for (const submission of members) {
      // No round trip of its own: it goes with the member's first statement. Each has another name, so that a member
      // can never be rolled back to the savepoint of one before whose RELEASE has failed unnoticed.
      if (withSavepoints) {
        const release = savepoint > 0 ? `RELEASE SAVEPOINT m${savepoint - 1}; ` : '';
        this.#tell(`${release}SAVEPOINT m${savepoint}`);
      }
      onWork();
      settle(submission, await this.#work(submission, withSavepoints ? `m${savepoint}` : undefined));
      savepoint += 1;
    }
  }

  /**
   * Wave by wave, those of one all at once, without savepoints. A member that fails before it has written anything
   * leaves nothing to undo; after any other failure the group has failed, and its members run again in sequence.
   */
  async #overlap(
    waves: Group['waves'],
    fresh: ReadonlySet<Submission>,
    settle: Settle,
    onWork: () => void,
  ): Promise<void> {
    for (const wave of waves) {
      const members = wave.filter((submission) => fresh.has(submission));
      if (members.length === 0) continue;
      onWork();
      const bulk = new BulkStatements(this.#connected().client);
      const results = await Promise.allSettled(
        members.map((submission) => this.#work(submission, 'none', bulk)),
      );
      for (const [index, result] of results.entries()) {
        if (result.status === 'fulfilled') settle(members[index] as Submission, result.value);
      }
      // Only now: who was answered must not run again.
      for (const result of results) if (result.status === 'rejected') throw result.reason;
      this.#assertHealthy();
      if (this.#connected().client.getTransactionStatus() === 'E')
        throw new Error('a statement of a member failed');
    }
  }

  async #connect(): Promise<void> {
    if (this.#runner?.isReleased === true || this.#client?.lost !== undefined) this.#discard();
    if (this.#runner !== undefined) return;
    const runner = this.#dataSource.createQueryRunner();
    const client: unknown = await runner.connect();
    if (!(client instanceof PipelinedClient)) {
      await runner.release();
      throw new PersistenceOptionsError('the unit of work', [
        'its DataSource was not made by createDataSource()',
      ]);
    }
    this.#runner = runner;
    this.#client = client;
  }

  /** Forgets a connection that is lost; TypeORM takes it out of the pool when it hears of its end. */
  #discard(): void {
    this.#client?.abort(new Error('The connection is of no more use'));
    this.#runner = undefined;
    this.#client = undefined;
  }

  async #begin(members: readonly Submission[], begin: string): Promise<Map<string, KnownMessage>> {
    setTransactionState(this.#connected().runner, true);
    this.#tell(begin);
    const entries = members.flatMap(({ entry }) => (entry === undefined ? [] : [entry]));
    const locks = members.flatMap((member) => member.locks);
    const entering =
      entries.length + locks.length === 0 ? undefined : enterInbox(this.#connected().client, entries, locks);
    return (await entering) ?? new Map<string, KnownMessage>();
  }

  /**
   * Runs one member. Undefined: it failed and was answered. Throws when the whole group has failed. `savepoint`: what to
   * go back to when it fails; undefined: nothing, it is the only one; `none`: nothing, and it is not.
   */
  async #work(
    submission: Submission,
    savepoint: string | undefined,
    bulk?: BulkStatements,
  ): Promise<Ended | undefined> {
    const { runner, client } = this.#connected();
    const unit = new MemberUnit(runner.manager, client, bulk);
    const inUnit = <R>(action: () => R): R =>
      submission.inContext(() => unitStorage.run({ owner: this.#owner, unit }, action));
    setTransactionState(runner, true);
    try {
      const result = await this.#unlessCut(inUnit(submission.work));
      return { submission, unit, answer: { outcome: { duplicate: false, result } } };
    } catch (error) {
      if (error instanceof UnitOfWorkTimedOutError) submission.reject(error);
      this.#assertHealthy();
      this.#undo(unit, savepoint, error);
      if (!isBusinessError(error) || submission.onRefusal === undefined) {
        submission.reject(error);
        return undefined;
      }
      try {
        const { onRefusal } = submission;
        await this.#unlessCut(inUnit(async () => onRefusal(error)));
        return { submission, unit, answer: { error } };
      } catch (refusalError) {
        this.#assertHealthy();
        this.#undo(unit, savepoint, refusalError);
        submission.reject(refusalError);
        return undefined;
      }
    } finally {
      unit.end();
    }
  }

  /** Undoes what a member did, or throws `error` when only the whole group can be undone. */
  #undo(unit: MemberUnit, savepoint: string | undefined, error: unknown): void {
    unit.discard();
    if (savepoint === 'none') {
      if (unit.wrote || this.#connected().client.getTransactionStatus() === 'E') throw error;
    } else if (savepoint !== undefined) {
      this.#tell(`ROLLBACK TO SAVEPOINT ${savepoint}`);
    }
  }

  async #commit(ended: readonly Ended[]): Promise<OutboxRow[]> {
    const { runner, client } = this.#connected();
    const messages = ended.flatMap(({ unit }) => unit.messages);
    const handled = ended.flatMap(({ submission: { entry }, unit }): HandledMessage[] =>
      entry === undefined ? [] : [{ entry, reply: unit.reply }],
    );
    // All on the wire before the first answer. What follows a failure fails too, the COMMIT by answering ROLLBACK.
    const inbox = handled.length === 0 ? undefined : addToInbox(client, handled);
    const outbox =
      messages.length === 0
        ? undefined
        : addToOutbox(client, messages, { relay: this.#relay(), nowMs: this.#now() });
    const commit = client.send('COMMIT');
    const [, written, committed] = await allEnded(inbox, outbox, commit);
    setTransactionState(runner, false);
    this.#assertHealthy();
    if (committed?.command !== 'COMMIT') throw new Error('a statement failed whose error was ignored');
    return written ?? [];
  }

  async #rollBack(): Promise<void> {
    const { runner, client } = this.#connected();
    try {
      await client.send('ROLLBACK');
    } catch (error) {
      // The connection is of no more use; the server rolls back when it ends.
      client.abort(error instanceof Error ? error : new Error(String(error)));
    }
    setTransactionState(runner, false);
  }

  /** Sends a statement whose answer nobody waits for; should it fail, the group does. */
  #tell(sql: string): void {
    this.#connected()
      .client.send(sql)
      .catch((error: unknown) => {
        this.#fault ??= error;
      });
  }

  async #unlessCut<T>(work: Promise<T>): Promise<T> {
    const cut = this.#cut;
    if (cut === undefined) return work;
    const first = await Promise.race([work.then((result) => ({ result })), cut.promise]);
    if ('reason' in first) throw first.reason;
    return first.result;
  }

  #assertHealthy(): void {
    const fault = this.#client?.lost ?? this.#fault;
    if (fault !== undefined) throw fault instanceof Error ? fault : new Error(errorMessage(fault));
  }

  #connected(): { runner: QueryRunner; client: PipelinedClient } {
    if (this.#runner === undefined || this.#client === undefined)
      throw new Error('The lane has no connection');
    return { runner: this.#runner, client: this.#client };
  }
}

function isBusinessError(error: unknown): error is BusinessError {
  return error instanceof BusinessError;
}

const BEGIN = 'BEGIN READ WRITE';

/**
 * Independent units touch rows by key. Postgres keeps plans, and one that was made while a table was nearly empty
 * would go on to scan it: so it is told to look rows up. Bulk statements get their rows as arrays, whose lengths it
 * guesses when it keeps a plan and knows when it plans anew: so it would plan each of them anew, for longer than they run.
 */
const BEGIN_BY_KEY = [
  BEGIN,
  'SET LOCAL enable_seqscan = off',
  'SET LOCAL enable_hashjoin = off',
  'SET LOCAL enable_mergejoin = off',
  'SET LOCAL plan_cache_mode = force_generic_plan',
].join('; ');

type Settle = (submission: Submission, result: Ended | undefined) => void;

const TRANSACTION_CONTROL =
  /^\s*(?:BEGIN|START\s|COMMIT|END\b|ABORT|PREPARE\s+TRANSACTION|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b))/i;
const SAVEPOINT_CONTROL = /^\s*(?:SAVEPOINT|RELEASE|ROLLBACK)\b/i;

/** The transaction is the group's: no member may end it. */
export function guardUnit(text: string): Error | undefined {
  return TRANSACTION_CONTROL.test(text) ? new TransactionControlError(text.trim()) : undefined;
}

/** Going back to a savepoint would also undo what others did meanwhile. Also notes which member writes. */
function guardOverlapping(text: string): Error | undefined {
  if (SAVEPOINT_CONTROL.test(text)) return new TransactionControlError(text.trim());
  const unit = unitStorage.getStore()?.unit;
  if (unit instanceof MemberUnit && !/^\s*SELECT\b/i.test(text)) unit.noteWrite();
  return guardUnit(text);
}

/** Why a group was cut off. */
interface Cut {
  readonly reason: Error;
}

function answerAll(ended: readonly Ended[]): void {
  for (const { submission, answer } of ended) {
    if ('error' in answer) submission.reject(answer.error);
    else submission.resolve(answer.outcome);
  }
}

/** A lone unit that can only succeed or fail needs none: its transaction is rolled back as a whole. */
function needsSavepoint({ onRefusal }: Submission): boolean {
  return onRefusal !== undefined;
}

function answerDuplicate(submission: Submission, known: KnownMessage): void {
  const { entry } = submission;
  if (
    entry?.payloadHash !== undefined &&
    known.payloadHash !== null &&
    known.payloadHash !== entry.payloadHash
  ) {
    submission.reject(new IdempotencyConflictError(entry.consumer, entry.messageId));
  } else {
    submission.resolve({ duplicate: true, reply: known.reply });
  }
}

/** Waits for all, then throws the first failure: nothing is left under way. */
async function allEnded<A, B, C>(
  a: Promise<A> | undefined,
  b: Promise<B> | undefined,
  c: Promise<C> | undefined,
): Promise<[A | undefined, B | undefined, C | undefined]> {
  const results = await Promise.allSettled([a, b, c]);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
  return results.map((result) => (result.status === 'fulfilled' ? result.value : undefined)) as [
    A | undefined,
    B | undefined,
    C | undefined,
  ];
}

/**
 * Tells TypeORM that a transaction is open that it did not begin: `save()` then begins none of its own, and
 * `manager.transaction()` makes a savepoint. TypeORM keeps both fields for itself; a test watches that they stay.
 */
export function setTransactionState(runner: QueryRunner, active: boolean): void {
  Object.assign(runner, { isTransactionActive: active, transactionDepth: active ? 1 : 0 });
}
