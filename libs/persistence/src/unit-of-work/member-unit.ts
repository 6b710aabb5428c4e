import type { EntityManager } from 'typeorm';
import type { PipelinedClient } from '../connection/pipelined-client.ts';
import type { OutgoingMessage } from '../outbox/outgoing-message.ts';
import { prepareMessage, type PreparedMessage } from '../outbox/outbox-row.ts';
import { UnitOfWorkOverError } from '../persistence.errors.ts';
import type { ActiveUnitOfWork } from './active-unit-of-work.ts';
import type { BulkStatement } from './bulk-statement.ts';
import { runBulk, type BulkStatements } from './bulk-statements.ts';

/** The unit of work of one member of a group: what it wants written and done when its group commits. */
export class MemberUnit implements ActiveUnitOfWork {
  readonly #manager: EntityManager;
  readonly #client: PipelinedClient;
  readonly #bulk: BulkStatements | undefined;
  #over = false;
  #messages: PreparedMessage[] = [];
  #reply: string | undefined;
  #afterCommit: (() => void)[] = [];
  #wrote = false;

  /** `bulk`: where its bulk statements meet those of the units that it overlaps with. */
  constructor(manager: EntityManager, client: PipelinedClient, bulk: BulkStatements | undefined) {
    this.#manager = manager;
    this.#client = client;
    this.#bulk = bulk;
  }

  get manager(): EntityManager {
    this.#assertActive('manager');
    return this.#manager;
  }

  async query<R>(sql: string, parameters: readonly unknown[] = []): Promise<R[]> {
    this.#assertActive('query()');
    this.#bulk?.flush();
    const result = await this.#client.ask<R>(sql, parameters);
    return result.rows;
  }

  async bulk<R>(statement: BulkStatement, row: readonly unknown[]): Promise<R[]> {
    this.#assertActive('bulk()');
    if (statement.writes) this.#wrote = true;
    if (this.#bulk !== undefined) return this.#bulk.add<R>(statement, row);
    return this.#client.traced(statement.text, runBulk<R>(this.#client, statement, [row]));
  }

  send(message: OutgoingMessage): void {
    this.#assertActive('send()');
    this.#messages.push(prepareMessage(message));
  }

  remember(reply: unknown): void {
    this.#assertActive('remember()');
    this.#reply = JSON.stringify(reply);
  }

  afterCommit(action: () => void): void {
    this.#assertActive('afterCommit()');
    this.#afterCommit.push(action);
  }

  /** Forgets what the work wanted, because its changes were undone. */
  discard(): void {
    this.#messages = [];
    this.#reply = undefined;
    this.#afterCommit = [];
  }

  /** Whether a statement of the work was other than a SELECT, so that there may be something to undo. */
  get wrote(): boolean {
    return this.#wrote;
  }

  noteWrite(): void {
    this.#wrote = true;
  }

  /** No more is accepted: the work has ended. */
  end(): void {
    this.#over = true;
  }

  get messages(): readonly PreparedMessage[] {
    return this.#messages;
  }

  /** JSON text. */
  get reply(): string | undefined {
    return this.#reply;
  }

  get afterCommitActions(): readonly (() => void)[] {
    return this.#afterCommit;
  }

  #assertActive(what: string): void {
    if (this.#over) throw new UnitOfWorkOverError(what);
  }
}
