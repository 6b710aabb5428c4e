import { AsyncLocalStorage } from 'node:async_hooks';
import type { EntityManager } from 'typeorm';
import { OutsideUnitOfWorkError } from '../persistence.errors.ts';
import type { BulkStatement } from './bulk-statement.ts';
import type { OutgoingMessage } from '../outbox/outgoing-message.ts';

/** The unit of work that the running code is part of. It ends with the work that was given to it. */
export interface ActiveUnitOfWork {
  /** TypeORM's manager on the unit's connection. Repositories injected with `@InjectRepository` follow it by themselves. */
  readonly manager: EntityManager;
  /** Runs a statement on the unit's connection and returns its rows. */
  query<R>(sql: string, parameters?: readonly unknown[]): Promise<R[]>;
  /**
   * Runs a bulk statement for one row and returns the rows of its result that belong to it. Units that overlap share
   * one statement for what they ask at the same time.
   */
  bulk<R>(statement: BulkStatement, row: readonly unknown[]): Promise<R[]>;
  /** Puts a message into the outbox: it is published after the commit, and never without it. */
  send(message: OutgoingMessage): void;
  /** Keeps `reply` (JSON) with the inbox entry, for duplicates; without an inbox entry there are none, and it does nothing. */
  remember(reply: unknown): void;
  /** Runs `action` once the unit is committed; never when it is not, and perhaps not when the process dies. */
  afterCommit(action: () => void): void;
}

/** An active unit and whose it is: one process may have units of work on several databases. */
export interface UnitInContext {
  readonly owner: object;
  readonly unit: ActiveUnitOfWork;
}

export const unitStorage = new AsyncLocalStorage<UnitInContext>();

/** The unit of work that the calling code runs in; undefined outside of one. */
export function currentUnitOfWork(): ActiveUnitOfWork | undefined {
  return unitStorage.getStore()?.unit;
}

/** The unit of work that the calling code runs in. Throws {@link OutsideUnitOfWorkError} that says `what` needs one. */
export function requireUnitOfWork(what: string): ActiveUnitOfWork {
  const unit = currentUnitOfWork();
  if (unit === undefined) throw new OutsideUnitOfWorkError(what);
  return unit;
}
