import { EventEmitter } from 'node:events';
import { loadParser, parse, type ParsedStatement } from './parser.ts';
import { PostgresError } from './postgres-error.ts';
import type { Session } from './session.ts';
import { ConnectionGone, type Prepared, type ResultField, type StatementResult } from './session.ts';

/** What the client sends, in order. */
type Message =
  | { readonly kind: 'startup'; readonly settings: Readonly<Record<string, string | undefined>> }
  | { readonly kind: 'query'; readonly text: string }
  | { readonly kind: 'parse'; readonly name: string; readonly text: string }
  | { readonly kind: 'execute'; readonly name: string; readonly parameters: readonly (string | null)[] }
  | { readonly kind: 'sync' }
  | { readonly kind: 'end' };

/** What a connection needs of its server. */
export interface ConnectionHost {
  /** Opens a session; rejects when the server does not let it in. */
  open(
    settings: Readonly<Record<string, string | undefined>>,
    connection: SimulatedConnection,
  ): Promise<Session>;
  closed(connection: SimulatedConnection): void;
}

/** The part of a socket that pg and the chassis touch. */
class Line extends EventEmitter {
  writable = true;
  readonly #destroyed: (error: Error | undefined) => void;

  constructor(destroyed: (error: Error | undefined) => void) {
    super();
    this.#destroyed = destroyed;
  }

  cork(): void {
    // Nothing is put on a wire.
  }

  uncork(): void {
    // Nothing is put on a wire.
  }

  ref(): void {
    // Keeps no process alive.
  }

  unref(): void {
    // Keeps no process alive.
  }

  setNoDelay(): void {
    // There is no packet.
  }

  end(): void {
    this.destroy();
  }

  destroy(error?: Error): void {
    if (!this.writable) return;
    this.writable = false;
    this.#destroyed(error);
  }
}

interface Bound {
  readonly statement?: string;
  readonly values?: readonly unknown[];
  /** pg's own. */
  readonly valueMapper: (value: unknown, index: number) => string | Buffer | null;
}

/**
 * Stands in for pg's `Connection`: what it would write to a socket goes to a simulated session, whose answers come as
 * the events that pg makes of the server's messages. Everything above, from pg's `Client` on, is as ever.
 */
export class SimulatedConnection extends EventEmitter {
  readonly stream: Line;
  /** pg keeps here which statements it has named. */
  readonly parsedStatements: Record<string, string> = {};
  readonly submittedNamedStatements: Record<string, string> = {};
  readonly ssl = false;
  _connecting = false;
  _ending = false;
  readonly #host: ConnectionHost;
  readonly #queue: Message[] = [];
  readonly #statements = new Map<string, readonly ParsedStatement[]>();
  readonly #inFlight = { running: false };
  #bound: { readonly name: string; readonly parameters: readonly (string | null)[] } | undefined;
  #session: Session | undefined;
  /** After an error, until the next sync. */
  #skipping = false;
  #isOver = false;

  constructor(host: ConnectionHost) {
    super();
    this.setMaxListeners(50);
    this.#host = host;
    this.stream = new Line((error) => this.#close(error));
  }

  get session(): Session | undefined {
    return this.#session;
  }

  connect(): void {
    this._connecting = true;
    queueMicrotask(() => this.emit('connect'));
  }

  startup(settings: Readonly<Record<string, string | undefined>>): void {
    this.#send({ kind: 'startup', settings });
  }

  query(text: string): void {
    this.#send({ kind: 'query', text });
  }

  parse({ name, text }: { readonly name?: string; readonly text: string }): void {
    this.#send({ kind: 'parse', name: name ?? '', text });
  }

  bind({ statement, values = [], valueMapper }: Bound): void {
    const parameters = values.map((value, index) => {
      const mapped = valueMapper(value, index);
      return Buffer.isBuffer(mapped) ? `\\x${mapped.toString('hex')}` : mapped;
    });
    this.#bound = { name: statement ?? '', parameters };
  }

  describe(): void {
    // Rows are always described.
  }

  execute(): void {
    if (this.#bound !== undefined) this.#send({ kind: 'execute', ...this.#bound });
  }

  flush(): void {
    // Answers come at once.
  }

  sync(): void {
    this.#send({ kind: 'sync' });
  }

  close(): void {
    // A statement that cannot be bound stays known.
  }

  ref(): void {
    // Keeps no process alive.
  }

  unref(): void {
    // Keeps no process alive.
  }

  end(): void {
    this._ending = true;
    this.#send({ kind: 'end' });
  }

  /** Ends the statement that waits. */
  cancelRunning(): void {
    this.#session?.cancel();
  }

  /** The server has gone, or the network between. */
  break(error: Error): void {
    this.stream.destroy(error);
  }

  notify(channel: string, payload: string, processId: number): void {
    queueMicrotask(() => {
      if (!this.#isOver) this.emit('notification', { channel, payload, processId });
    });
  }

  #send(message: Message): void {
    if (this.#isOver) return;
    this.#queue.push(message);
    if (this.#inFlight.running) return;
    this.#inFlight.running = true;
    // Not before the client has gone on: answers never come while it still asks.
    queueMicrotask(() => void this.#work());
  }

  async #work(): Promise<void> {
    for (let message = this.#queue.shift(); message !== undefined; message = this.#queue.shift()) {
      try {
        const work = this.#handle(message);
        if (work !== undefined) await work;
      } catch (error) {
        if (this.#isOver) break;
        if (error instanceof PostgresError) this.#fail(error, message);
        else {
          this.break(error instanceof Error ? error : new Error(String(error)));
          break;
        }
      }
    }
    this.#inFlight.running = false;
  }

  #fail(error: PostgresError, { kind }: Message): void {
    this.emit('errorMessage', wireError(error));
    if (error.severity === 'FATAL') this.break(error);
    else if (kind === 'query') this.#ready();
    else this.#skipping = true;
  }

  /** Undefined: it is done. */
  #handle(message: Message): Promise<void> | undefined {
    if (this.#isOver) return undefined;
    if (this.#skipping && message.kind !== 'sync' && message.kind !== 'end') return undefined;
    switch (message.kind) {
      case 'startup':
        return this.#startup(message.settings);
      case 'query':
        return this.#runText(message.text);
      case 'parse': {
        const session = this.#required();
        try {
          const statements = parse(message.text);
          if (statements.length > 1)
            throw new PostgresError('42601', 'cannot insert multiple commands into a prepared statement');
          this.#statements.set(message.name, statements);
        } catch (error) {
          session.fail();
          throw error;
        }
        this.emit('parseComplete', {});
        return undefined;
      }
      case 'execute': {
        const known = this.#statements.get(message.name);
        if (known === undefined)
          throw new PostgresError('26000', `prepared statement "${message.name}" does not exist`);
        return this.#execute({ statement: known[0], parameters: message.parameters });
      }
      case 'sync':
        this.#skipping = false;
        this.#ready();
        return undefined;
      case 'end':
        this.stream.destroy();
        return undefined;
    }
  }

  async #startup(settings: Readonly<Record<string, string | undefined>>): Promise<void> {
    await loadParser();
    this.#session = await this.#host.open(settings, this);
    this.emit('authenticationOk', {});
    this.emit('backendKeyData', { processID: this.#session.id, secretKey: this.#session.id });
    this.#ready();
  }

  async #execute(prepared: Prepared): Promise<void> {
    const result = await this.#required().runPrepared(prepared);
    if (this.#isOver) return;
    if (result === undefined) this.emit('emptyQuery', {});
    else this.#answer(result);
  }

  async #runText(text: string): Promise<void> {
    let answered = false;
    await this.#required().runText(text, (result) => {
      answered = true;
      if (!this.#isOver) this.#answer(result);
    });
    if (this.#isOver) return;
    if (!answered) this.emit('emptyQuery', {});
    this.#ready();
  }

  #answer({ command, fields, rows }: StatementResult): void {
    if (fields !== undefined) {
      this.emit('rowDescription', descriptionOf(fields));
      for (const row of rows) {
        const texts: (string | null)[] = [];
        for (let index = 0; index < fields.length; index += 1) {
          const value = row[index] ?? null;
          texts.push(value === null ? null : (fields[index] as ResultField).type.output(value));
        }
        this.emit('dataRow', { fields: texts, fieldCount: texts.length });
      }
    }
    this.emit('commandComplete', { text: command });
  }

  #ready(): void {
    this.emit('readyForQuery', { status: this.#session?.status ?? 'I' });
  }

  #required(): Session {
    if (this.#session === undefined) throw new ConnectionGone();
    return this.#session;
  }

  #close(error: Error | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#queue.length = 0;
    this.#session?.end();
    this.#host.closed(this);
    queueMicrotask(() => {
      if (error !== undefined && !this._ending) this.emit('error', error);
      this.emit('end');
    });
  }
}

const descriptions = new WeakMap<readonly ResultField[], { readonly fields: readonly object[] }>();

/** The message that describes rows; the same for each run of a plan. */
function descriptionOf(columns: readonly ResultField[]): { readonly fields: readonly object[] } {
  let description = descriptions.get(columns);
  if (description === undefined) {
    const fields = columns.map(({ name, type }, index) => ({
      name,
      tableID: 0,
      columnID: index + 1,
      dataTypeID: type.oid,
      dataTypeSize: -1,
      dataTypeModifier: -1,
      format: 'text',
    }));
    descriptions.set(columns, (description = { fields }));
  }
  return description;
}

/** As pg makes it of the server's message. */
function wireError(error: PostgresError): Error {
  const { code, severity, details } = error;
  const wire = new Error(error.message);
  return Object.assign(wire, { name: 'error', length: 0, severity, code, ...details });
}
