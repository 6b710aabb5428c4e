import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';

/** A message that the server took: its envelope, and its text as it came over the wire. */
export interface TakenMessage {
  readonly from: string;
  readonly to: readonly string[];
  readonly text: string;
}

/** Instead of an answer: the connection ends. */
export const HANG_UP = Symbol('hang up');

/** Answers a command in place of the usual answer. */
export type AnswerTo = (command: string) => string | typeof HANG_UP | undefined;

/** As much of a mail server as a test needs (RFC 5321): it takes messages, or answers what the test says. */
export class SmtpServer implements AsyncDisposable {
  readonly taken: TakenMessage[] = [];
  /** Set by a test to make the server refuse, falter or hang up; undefined answers are the usual ones. */
  answer: AnswerTo = () => undefined;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((socket) => this.#serve(socket));

  static async start(): Promise<SmtpServer> {
    const server = new SmtpServer();
    server.#server.listen(0, '127.0.0.1');
    await once(server.#server, 'listening');
    return server;
  }

  get url(): string {
    return `smtp://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    // A client that goes away mid-sentence is what some tests are about.
    socket.once('error', () => socket.destroy());
    const session = new Session(this, socket);
    socket.setEncoding('utf8').on('data', (chunk: string) => session.read(chunk));
  }
}

class Session {
  readonly #server: SmtpServer;
  readonly #socket: Socket;
  #unread = '';
  #from = '';
  #to: string[] = [];
  #inData = false;

  constructor(server: SmtpServer, socket: Socket) {
    this.#server = server;
    this.#socket = socket;
    socket.write('220 test\r\n');
  }

  read(chunk: string): void {
    this.#unread += chunk;
    for (;;) {
      const end = this.#inData ? '\r\n.\r\n' : '\r\n';
      const at = this.#unread.indexOf(end);
      if (at < 0) return;
      const text = this.#unread.slice(0, at);
      this.#unread = this.#unread.slice(at + end.length);
      if (this.#inData) this.#take(text);
      else this.#obey(text);
    }
  }

  #obey(command: string): void {
    const verb = command.slice(0, 4).toUpperCase();
    if (this.#said(command)) return;
    const address = /<(.*)>/.exec(command)?.[1] ?? '';
    if (verb === 'MAIL') {
      this.#from = address;
      this.#to = [];
    }
    if (verb === 'RCPT') this.#to.push(address);
    if (verb === 'DATA') {
      this.#inData = true;
      this.#socket.write('354 go on\r\n');
      return;
    }
    this.#socket.write(verb === 'QUIT' ? '221 bye\r\n' : '250 ok\r\n');
  }

  #take(text: string): void {
    this.#inData = false;
    this.#server.taken.push({ from: this.#from, to: this.#to, text });
    if (!this.#said('.')) this.#socket.write('250 taken\r\n');
  }

  #said(command: string): boolean {
    const answer = this.#server.answer(command);
    if (answer === undefined) return false;
    if (answer === HANG_UP) this.#socket.destroy();
    else this.#socket.write(`${answer}\r\n`);
    return true;
  }
}
