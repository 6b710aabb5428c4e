import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { errorMessage } from '@flotilla/kernel';
import { until } from '@flotilla/testing';

const run = promisify(execFile);
const folder = fileURLToPath(new URL('../interop', import.meta.url));
const NATS_PY = 'nats-py==2.16.0';
/** Fetching a client and compiling, on a slow machine with an empty cache. */
const PREPARE_MS = 300_000;

/** How a program with a plain NATS client is run; `missing` says why it cannot be on this machine. */
export interface PlainProgram {
  readonly language: string;
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly missing: string | undefined;
  dispose(): Promise<void>;
}

/** Node runs it as it is. */
export function typescriptProgram(): PlainProgram {
  return {
    language: 'TypeScript',
    command: [process.execPath, join(folder, 'typescript/interop.ts')],
    env: {},
    missing: undefined,
    dispose: () => Promise.resolve(),
  };
}

/** With nats-py in a folder of its own, through pip. */
export function pythonProgram(): Promise<PlainProgram> {
  return prepare('Python', async (dir) => {
    await run('python3', ['--version'], { timeout: 10_000 });
    const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--target', dir, NATS_PY];
    await run('python3', pip, { timeout: PREPARE_MS });
    return { command: ['python3', join(folder, 'python/interop.py')], env: { PYTHONPATH: dir } };
  });
}

/** With nats.go through the Go module proxy. */
export function goProgram(): Promise<PlainProgram> {
  return prepare('Go', async (dir) => {
    await run('go', ['version'], { timeout: 10_000 });
    await cp(join(folder, 'go'), dir, { recursive: true });
    const options = { cwd: dir, timeout: PREPARE_MS };
    await run('go', ['mod', 'tidy'], options);
    // From here on a failure is the program's.
    return {
      command: [join(dir, 'interop')],
      env: {},
      build: () => run('go', ['build', '-o', 'interop', '.'], options),
    };
  });
}

async function prepare(
  language: string,
  make: (
    dir: string,
  ) => Promise<Pick<PlainProgram, 'command' | 'env'> & { readonly build?: () => Promise<unknown> }>,
): Promise<PlainProgram> {
  const dir = await mkdtemp(join(tmpdir(), 'flotilla-interop-'));
  const dispose = (): Promise<void> => rm(dir, { recursive: true, force: true });
  try {
    const { build, ...program } = await make(dir);
    await build?.();
    return { language, ...program, missing: undefined, dispose };
  } catch (error) {
    await dispose();
    const missing = reasonToSkip(error);
    if (missing === undefined) throw error;
    return { language, command: [], env: {}, missing, dispose };
  }
}

/** Only that the language or its registry is not there excuses; that a program does not compile does not. */
function reasonToSkip(error: unknown): string | undefined {
  const said = `${errorMessage(error)} ${(error as { stderr?: string }).stderr ?? ''}`;
  const line = said
    .split('\n')
    .map((each) => each.trim())
    .find((each) =>
      /ENOENT|No module named pip|Could not find a version|No matching distribution|Connection|connection refused|no such host|i\/o timeout|dial tcp|Network is unreachable|TLS handshake|proxyconnect|50[234] |403 Forbidden/.test(
        each,
      ),
    );
  return line?.slice(0, 160);
}

/** One run of a program: what it says, a JSON object a line. */
export class PlainProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  #output = '';
  #errors = '';

  constructor({ command: [file = '', ...args], env }: PlainProgram, mode: 'call' | 'serve', natsUrl: string) {
    const { PATH = '', HOME = '' } = process.env;
    this.#child = spawn(file, [...args, mode], { env: { PATH, HOME, ...env, NATS_URL: natsUrl } });
    this.#child.stdout?.on('data', (chunk: Buffer) => (this.#output += chunk.toString()));
    this.#child.stderr?.on('data', (chunk: Buffer) => (this.#errors += chunk.toString()));
  }

  get said(): Record<string, unknown>[] {
    return this.#output
      .split('\n')
      .filter((line) => line.startsWith('{') && line.endsWith('}'))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** Waits until it has said something that has a field. */
  async says(field: string): Promise<Record<string, unknown>> {
    return until(
      () => {
        const fact = this.said.find((each) => field in each);
        if (fact === undefined && this.#ended) throw new Error(`it has ended: ${this.#errors}`);
        return fact;
      },
      { timeoutMs: 30_000, describe: `it says "${field}"` },
    );
  }

  /** Waits for its end; fails with what it wrote to its standard error unless it ended well. */
  async end(): Promise<Record<string, unknown>[]> {
    await until(() => this.#ended, { timeoutMs: 60_000, describe: 'it ends' });
    if (this.#child.exitCode !== 0) throw new Error(`it failed: ${this.#errors}`);
    return this.said;
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM');
    await this.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#child.kill('SIGKILL');
    await until(() => this.#ended, { describe: 'it is gone' });
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}
