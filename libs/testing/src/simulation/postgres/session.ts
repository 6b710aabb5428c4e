import type { Node } from 'libpg-query';
import { CatalogView } from './catalog.ts';
import { entryOf } from './compiler.ts';
import type { Micros } from './date-time.ts';
import { define } from './ddl.ts';
import { notify } from './functions.ts';
import { parse, type ParsedStatement } from './parser.ts';
import { isPlannable, planFor, runPlan, type Plan } from './plan.ts';
import { PostgresError, unsupported } from './postgres-error.ts';
import type { Run, SessionState, Steps, Wait } from './run.ts';
import type { SessionAct, SimulatedPostgresHooks } from './simulated-postgres.ts';
import { Transaction, undoTo, type Database, type Waiter } from './storage.ts';
import { TEXT, type Row, type SqlType, type Value } from './types.ts';

export interface ResultField {
  readonly name: string;
  readonly type: SqlType;
}

/** What a statement answers. */
export interface StatementResult {
  readonly command: string;
  readonly fields: readonly ResultField[] | undefined;
  readonly rows: readonly Row[];
}

/** A statement with its parameters as text, as they come over the wire. */
export interface Prepared {
  readonly statement: ParsedStatement | undefined;
  readonly parameters: readonly (string | null)[];
}

export type TransactionStatus = 'I' | 'T' | 'E';

interface Savepoint {
  readonly name: string;
  readonly undo: number;
}

/** What a server does for its sessions. */
export interface SessionHost {
  readonly hooks: SimulatedPostgresHooks;
  notified(database: Database, from: Session, notifications: Transaction['notifications']): void;
}

/** Thrown when the connection is gone while a statement runs. */
export class ConnectionGone extends Error {
  constructor() {
    super('The connection is gone');
  }
}

const CONFLICTING: Readonly<Record<string, string>> = {
  server_version: '18.0',
  server_encoding: 'UTF8',
  TimeZone: 'UTC',
};

const COMMITTED: SessionAct = { kind: 'commit' };
const ROLLED_BACK: SessionAct = { kind: 'rollback' };

/** One connection's state on the server. */
export class Session implements SessionState {
  readonly id: number;
  readonly database: Database;
  readonly user: string;
  readonly settings = new Map<string, string>();
  readonly listening = new Set<string>();
  readonly #host: SessionHost;
  readonly #observe: SimulatedPostgresHooks['observe'];
  readonly #defaults: ReadonlyMap<string, string>;
  #transaction: Transaction | undefined;
  #catalog: CatalogView;
  #status: TransactionStatus = 'I';
  #savepoints: Savepoint[] = [];
  #localSettings: (() => void)[] = [];
  #readOnly = false;
  /** Statements sent as one text run in one transaction. */
  #inBatch = false;
  #gone = false;
  /** Whether a statement was told of whose answer was not. */
  #running = false;
  #interrupt: ((error: Error) => void) | undefined;
  transactionTime: Micros = 0;
  statementTime: Micros = 0;

  constructor(
    host: SessionHost,
    id: number,
    database: Database,
    user: string,
    settings: ReadonlyMap<string, string>,
  ) {
    this.#host = host;
    this.#observe = host.hooks.observe;
    this.id = id;
    this.database = database;
    this.user = user;
    this.#defaults = settings;
    for (const [name, value] of settings) this.settings.set(name, value);
    this.#catalog = new CatalogView(() => database.catalog);
  }

  get status(): TransactionStatus {
    return this.#status;
  }

  get isGone(): boolean {
    return this.#gone;
  }

  get transaction(): Transaction {
    if (this.#transaction === undefined) throw new Error('No transaction is under way');
    return this.#transaction;
  }

  get catalog(): CatalogView {
    return this.#catalog;
  }

  clock(): Micros {
    return this.#host.hooks.now().getTime() * 1000;
  }

  random(): number {
    return this.#host.hooks.random();
  }

  setting(name: string): string | undefined {
    return this.settings.get(name.toLowerCase()) ?? CONFLICTING[name];
  }

  set(name: string, value: string | undefined, local: boolean): void {
    const key = name.toLowerCase();
    const before = this.settings.get(key);
    const restore = (): void => {
      if (before === undefined) this.settings.delete(key);
      else this.settings.set(key, before);
    };
    if (value === undefined) this.settings.delete(key);
    else this.settings.set(key, value);
    if (local) this.#localSettings.push(restore);
    this.#transaction?.undo.push(restore);
  }

  /** The connection has ended: its transaction is rolled back, its locks are free. */
  end(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#tell({ kind: 'close' });
    this.#rollBack();
    this.database.releaseAllAdvisory(this);
    this.#interrupt?.(new ConnectionGone());
  }

  /** Ends the statement that runs, if it waits. */
  cancel(): void {
    this.#interrupt?.(new PostgresError('57014', 'canceling statement due to user request'));
  }

  /** Runs the statements of a text without parameters; all in one transaction unless they say otherwise. */
  async runText(text: string, answer: (result: StatementResult) => void): Promise<void> {
    const statements = await this.#parsed(text);
    this.#inBatch = statements.length > 1;
    try {
      for (const statement of statements) answer(await this.#run(statement, []));
      this.#inBatch = false;
      if (this.#status === 'I' && this.#transaction !== undefined) await this.#commit(text);
    } finally {
      this.#inBatch = false;
      if (this.#status === 'I' && this.#transaction !== undefined) this.#rollBack();
    }
  }

  async runPrepared(prepared: Prepared): Promise<StatementResult | undefined> {
    const { statement, parameters } = prepared;
    if (statement === undefined) return undefined;
    return this.#run(statement, parameters);
  }

  async #parsed(text: string): Promise<readonly ParsedStatement[]> {
    try {
      return parse(text);
    } catch (error) {
      await this.#step('statement', text);
      this.#fail();
      throw error;
    }
  }

  /** A statement that could not even be read. */
  fail(): void {
    this.#fail();
  }

  /** An error undoes the transaction, or what was done since its last savepoint, at once; the client is to say so too. */
  #fail(): void {
    const savepoint = this.#savepoints.at(-1);
    if (this.#status === 'I') this.#rollBack();
    else if (this.#status === 'T') {
      this.#status = 'E';
      if (savepoint === undefined) this.database.rollBack(this.transaction);
      else {
        undoTo(this.transaction, savepoint.undo);
        this.database.wakeWaiters();
      }
    }
  }

  async #step(kind: 'statement' | 'commit' | 'answer', text: string): Promise<void> {
    if (this.#gone) throw new ConnectionGone();
    await this.#host.hooks.step({ kind, database: this.database.name, connection: this.id, text });
    if (this.#gone) throw new ConnectionGone();
  }

  async #run(statement: ParsedStatement, parameters: readonly (string | null)[]): Promise<StatementResult> {
    const { node, text } = statement;
    await this.#step('statement', text);
    try {
      if ('TransactionStmt' in node) return await this.#control(node, text);
      if (this.#status === 'E') {
        throw new PostgresError(
          '25P02',
          'current transaction is aborted, commands ignored until end of transaction block',
        );
      }
      const own = this.#transaction === undefined;
      if (own) this.#begin();
      this.statementTime = this.clock();
      if (this.#status === 'I' && own) this.transactionTime = this.statementTime;
      this.#tellRun(text, parameters);
      const result = await this.#drive(this.#execute(statement, parameters), text);
      this.#tellAnswer(result);
      if (this.#status === 'I' && !this.#inBatch) await this.#commit(text);
      return result;
    } catch (error) {
      if (!this.#gone) {
        if (this.#running && error instanceof PostgresError) this.#tell({ kind: 'fail', code: error.code });
        if (this.#status !== 'E') this.#fail();
      }
      throw error;
    } finally {
      this.#running = false;
    }
  }

  #tell(act: SessionAct): void {
    this.#observe?.(this.database.name, this.id, act);
  }

  #tellRun(text: string, parameters: readonly (string | null)[]): void {
    this.#running = true;
    if (this.#observe === undefined) return;
    this.#tell({ kind: 'run', text, parameters, now: this.transactionTime, clock: this.clock() });
  }

  #tellAnswer({ command, fields, rows }: StatementResult): void {
    this.#running = false;
    if (this.#observe === undefined) return;
    const texts = (fields === undefined ? [] : rows).map((row) =>
      (fields ?? []).map(({ type }, index) => {
        const value = row[index] ?? null;
        return value === null ? null : type.output(value);
      }),
    );
    this.#tell({ kind: 'answer', command, rows: texts });
  }

  #begin(readOnly?: boolean): void {
    this.#transaction = new Transaction(this);
    this.#savepoints = [];
    this.#catalog = new CatalogView(() => this.database.catalog);
    this.#readOnly = readOnly ?? this.settings.get('default_transaction_read_only') === 'on';
    this.transactionTime = this.clock();
    if (this.#observe !== undefined) this.#tell({ kind: 'begin', readOnly: this.#readOnly });
  }

  async #commit(text: string): Promise<void> {
    const { transaction } = this;
    const matters = transaction.wrote || transaction.notifications.length > 0;
    if (matters) await this.#step('commit', text);
    const catalog = this.#catalog.changed();
    if (catalog !== undefined) this.database.catalog = catalog;
    this.database.commit(transaction);
    this.#tell(COMMITTED);
    this.#over();
    if (transaction.notifications.length > 0)
      this.#host.notified(this.database, this, transaction.notifications);
    if (matters) await this.#step('answer', text);
  }

  #rollBack(): void {
    const transaction = this.#transaction;
    if (transaction === undefined) return;
    if (!this.#gone) this.#tell(ROLLED_BACK);
    this.database.rollBack(transaction);
    this.#over();
  }

  #over(): void {
    this.#transaction = undefined;
    this.#status = 'I';
    this.#savepoints = [];
    for (const restore of this.#localSettings.splice(0).reverse()) restore();
    this.#catalog = new CatalogView(() => this.database.catalog);
  }

  async #control(node: Extract<Node, { TransactionStmt: unknown }>, text: string): Promise<StatementResult> {
    const { kind, options = [], savepoint_name: name = '' } = node.TransactionStmt;
    const done = (command: string): StatementResult => ({ command, fields: undefined, rows: [] });
    switch (kind) {
      case 'TRANS_STMT_BEGIN':
      case 'TRANS_STMT_START': {
        if (this.#status !== 'I') return done('BEGIN');
        let readOnly: boolean | undefined;
        for (const option of options) {
          if (!('DefElem' in option)) continue;
          const { arg, defname } = option.DefElem;
          const value = arg !== undefined && 'A_Const' in arg ? arg.A_Const : undefined;
          if (defname === 'transaction_read_only') readOnly = (value?.ival?.ival ?? 0) === 1;
          else if (defname === 'transaction_isolation') requireReadCommitted(value?.sval?.sval ?? '');
        }
        if (this.#transaction === undefined) this.#begin(readOnly);
        this.#status = 'T';
        return done('BEGIN');
      }
      case 'TRANS_STMT_COMMIT':
        if (this.#status === 'E') {
          this.#rollBack();
          return done('ROLLBACK');
        }
        if (this.#transaction !== undefined) await this.#commit(text);
        return done('COMMIT');
      case 'TRANS_STMT_ROLLBACK':
        this.#rollBack();
        return done('ROLLBACK');
      case 'TRANS_STMT_SAVEPOINT':
        this.#requireTransaction('SAVEPOINT');
        if (this.#status === 'E') throw aborted();
        this.#savepoints.push({ name, undo: this.transaction.undo.length });
        this.#tellControl(text, 'SAVEPOINT');
        return done('SAVEPOINT');
      case 'TRANS_STMT_RELEASE': {
        this.#requireTransaction('RELEASE SAVEPOINT');
        if (this.#status === 'E') throw aborted();
        this.#savepoints.length = this.#savepointAt(name);
        this.#tellControl(text, 'RELEASE');
        return done('RELEASE');
      }
      case 'TRANS_STMT_ROLLBACK_TO': {
        this.#requireTransaction('ROLLBACK TO SAVEPOINT');
        const at = this.#savepointAt(name);
        undoTo(this.transaction, this.#savepoints[at]?.undo ?? 0);
        this.#savepoints.length = at + 1;
        this.#status = 'T';
        this.#tellControl(text, 'ROLLBACK');
        this.database.wakeWaiters();
        return done('ROLLBACK');
      }
      default:
        throw unsupported(String(kind));
    }
  }

  #tellControl(text: string, command: string): void {
    this.#tellRun(text, []);
    this.#tellAnswer({ command, fields: undefined, rows: [] });
  }

  #requireTransaction(command: string): void {
    if (this.#status === 'I')
      throw new PostgresError('25P01', `${command} can only be used in transaction blocks`);
  }

  #savepointAt(name: string): number {
    const at = this.#savepoints.findLastIndex((each) => each.name === name);
    if (at === -1) throw new PostgresError('3B001', `savepoint "${name}" does not exist`);
    return at;
  }

  *#execute(statement: ParsedStatement, parameters: readonly (string | null)[]): Steps<StatementResult> {
    const { node, text } = statement;
    if (isPlannable(node)) {
      const plan = planFor(this.#catalog, statement);
      if (this.#readOnly && plan.writes !== undefined) throw readOnly(plan.writes);
      const rows = yield* runPlan(this, plan, this.#bind(plan, parameters));
      return {
        command: commandTag(plan, rows.length),
        fields: plan.query.columns.length > 0 || plan.command === 'SELECT' ? plan.query.columns : undefined,
        rows,
      };
    }
    return yield* this.#utility(node, text);
  }

  #bind(plan: Plan, parameters: readonly (string | null)[]): Value[] {
    if (parameters.length !== plan.parameters.length) {
      throw new PostgresError(
        '08P01',
        `bind message supplies ${parameters.length} parameters, but prepared statement "" requires ${plan.parameters.length}`,
      );
    }
    return parameters.map((value, index) =>
      value === null ? null : (plan.parameters[index] as SqlType).input(value, () => this.transactionTime),
    );
  }

  *#utility(node: Node, text: string): Steps<StatementResult> {
    const done = (command: string): StatementResult => ({ command, fields: undefined, rows: [] });
    if ('VariableSetStmt' in node) {
      const { kind, name = '', args = [], is_local: isLocal } = node.VariableSetStmt;
      if (kind === 'VAR_SET_MULTI') {
        for (const each of args) {
          if (!('DefElem' in each)) continue;
          const { arg, defname } = each.DefElem;
          const value = arg !== undefined && 'A_Const' in arg ? arg.A_Const : undefined;
          if (defname === 'transaction_isolation') requireReadCommitted(value?.sval?.sval ?? '');
          if (defname === 'transaction_read_only') this.#readOnly = (value?.ival?.ival ?? 0) === 1;
        }
        return done('SET');
      }
      if (kind === 'VAR_RESET_ALL') {
        for (const each of [...this.settings.keys()]) this.set(each, this.#defaults.get(each), false);
        return done('RESET');
      }
      const value = args
        .map((each) => {
          if (!('A_Const' in each)) return '';
          const { sval, ival, fval } = each.A_Const;
          return sval?.sval ?? fval?.fval ?? String(ival?.ival ?? 0);
        })
        .join(', ');
      const isReset = kind === 'VAR_RESET' || kind === 'VAR_SET_DEFAULT';
      this.set(name, isReset ? this.#defaults.get(name) : value, isLocal === true);
      return done(kind === 'VAR_RESET' ? 'RESET' : 'SET');
    }
    if ('VariableShowStmt' in node) {
      const { name = '' } = node.VariableShowStmt;
      const value = this.setting(name);
      if (value === undefined)
        throw new PostgresError('42704', `unrecognized configuration parameter "${name}"`);
      return { command: 'SHOW', fields: [{ name, type: TEXT }], rows: [[value]] };
    }
    if ('ListenStmt' in node) {
      this.listening.add(node.ListenStmt.conditionname ?? '');
      return done('LISTEN');
    }
    if ('UnlistenStmt' in node) {
      if (node.UnlistenStmt.conditionname === undefined) this.listening.clear();
      else this.listening.delete(node.UnlistenStmt.conditionname);
      return done('UNLISTEN');
    }
    if ('NotifyStmt' in node) {
      notify(
        { session: this } as unknown as Run,
        node.NotifyStmt.conditionname ?? '',
        node.NotifyStmt.payload ?? '',
      );
      return done('NOTIFY');
    }
    if ('DiscardStmt' in node) return done('DISCARD ALL');
    if (this.#readOnly && !('LockStmt' in node)) throw readOnly(entryOf(node)[0].replace('Stmt', ''));
    this.transaction.command += 1;
    return done(yield* define(this, node, text));
  }

  /** Runs to the end, waiting where it has to. */
  async #drive<T>(steps: Steps<T>, text: string): Promise<T> {
    let next = steps.next();
    if (next.done === true) return next.value;
    this.database.suspended += 1;
    try {
      const startedAt = this.clock();
      while (next.done !== true) {
        await this.#wait(next.value, text, startedAt);
        next = steps.next();
      }
      return next.value;
    } finally {
      this.database.suspended -= 1;
      this.database.collectGarbage();
    }
  }

  async #wait(wait: Wait, text: string, startedAt: Micros): Promise<void> {
    const { database } = this;
    const blockers = wait.blockers();
    if (blockers.length === 0) return;
    if (database.closesCircle(this, blockers)) {
      throw new PostgresError('40P01', 'deadlock detected', {
        detail: `Process ${this.id} waits for ${wait.what}; blocked by process ${blockers.map(({ id }) => id).join(', ')}.`,
      });
    }
    const woken = Promise.withResolvers<undefined>();
    const waiter: Waiter = {
      transaction: this.transaction,
      blockers: () => wait.blockers(),
      wake: () => {
        database.waiters.delete(waiter);
        woken.resolve(undefined);
      },
    };
    this.#interrupt = (error) => woken.reject(error);
    const cancelTimers = this.#timeouts(startedAt, woken.reject);
    database.waiters.add(waiter);
    this.#tell({ kind: 'wait' });
    try {
      await woken.promise;
    } finally {
      database.waiters.delete(waiter);
      this.#interrupt = undefined;
      cancelTimers();
    }
    await this.#step('statement', text);
  }

  #timeouts(startedAt: Micros, fail: (error: Error) => void): () => void {
    const { hooks } = this.#host;
    if (hooks.after === undefined) return () => undefined;
    const cancels: (() => void)[] = [];
    const limit = (setting: string, usedMs: number, error: PostgresError): void => {
      const ms = milliseconds(this.settings.get(setting));
      if (ms > 0)
        cancels.push(hooks.after?.(Math.max(0, ms - usedMs), () => fail(error)) ?? (() => undefined));
    };
    limit('lock_timeout', 0, new PostgresError('55P03', 'canceling statement due to lock timeout'));
    limit(
      'statement_timeout',
      (this.clock() - startedAt) / 1000,
      new PostgresError('57014', 'canceling statement due to statement timeout'),
    );
    return () => {
      for (const cancel of cancels) cancel();
    };
  }
}

function commandTag(plan: Plan, count: number): string {
  return plan.command === 'INSERT' ? `INSERT 0 ${count}` : `${plan.command} ${count}`;
}

function readOnly(command: string): PostgresError {
  return new PostgresError('25006', `cannot execute ${command} in a read-only transaction`);
}

function aborted(): PostgresError {
  return new PostgresError(
    '25P02',
    'current transaction is aborted, commands ignored until end of transaction block',
  );
}

function requireReadCommitted(level: string): void {
  if (level !== '' && level !== 'read committed') throw unsupported(`the isolation level ${level}`);
}

function milliseconds(setting: string | undefined): number {
  const match = /^(\d+)\s*(ms|s|min)?$/.exec(setting ?? '');
  if (match === null) return 0;
  return Number(match[1]) * (match[2] === 's' ? 1000 : match[2] === 'min' ? 60_000 : 1);
}
