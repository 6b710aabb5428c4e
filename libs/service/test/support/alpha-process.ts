import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { until } from '@flotilla/testing';

const loader = new URL('./swc-loader.mjs', import.meta.url).href;
const main = fileURLToPath(new URL('../fixtures/alpha/main.ts', import.meta.url));

export interface LogLine {
  readonly level: string;
  readonly msg: string;
}

/** The fixture service as a process of its own. */
export class AlphaProcess {
  readonly #child: ChildProcess;
  #output = '';

  constructor(env: Readonly<Record<string, string>>) {
    const { PATH = '', HOME = '' } = process.env;
    this.#child = spawn(process.execPath, ['--conditions=@flotilla/source', '--import', loader, main], {
      env: { PATH, HOME, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    }
  }

  /** Everything it has written. */
  get output(): string {
    return this.#output;
  }

  /** Its log lines of a level. */
  lines(level: string): LogLine[] {
    return this.#output
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as LogLine)
      .filter((line) => line.level === level);
  }

  /** What they say. */
  messages(level: string): string[] {
    return this.lines(level).map(({ msg }) => msg);
  }

  /** Waits until it is ready; its HTTP address. */
  async ready(): Promise<string> {
    return until(() => this.#ended() ?? /alpha is ready at (http[^"]+)"/.exec(this.#output)?.[1], {
      timeoutMs: 25_000,
      describe: 'the service is ready',
    });
  }

  kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    this.#child.kill(signal);
  }

  /** Waits for its end: the exit code, or the signal that ended it. */
  async end(): Promise<number | string | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await once(this.#child, 'close');
    return this.#child.exitCode ?? this.#child.signalCode;
  }

  #ended(): undefined {
    if (this.#child.exitCode !== null)
      throw new Error(`it has ended with ${this.#child.exitCode}: ${this.#output}`);
    return undefined;
  }
}
