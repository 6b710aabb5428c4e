import { execFile } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { errorMessage } from '@flotilla/kernel';
import { FaultNotInjectedError } from './chaos.errors.ts';

const run = promisify(execFile);
const TIMEOUT_MS = 10_000;

/** The two ends of the cable: addresses that only this machine knows. */
const OUTER = '10.213.77.1';
const INNER = '10.213.77.2';

/**
 * A network namespace of Linux with one cable to the outside, in which a server runs as on a machine of its own: cut,
 * its packets are lost and nobody is told.
 */
export class NetworkNamespace {
  readonly name: string;
  readonly outerAddress = OUTER;
  readonly innerAddress = INNER;
  /** Runs `binary` inside; to be given instead of it. */
  readonly program: string;

  private constructor(name: string, program: string) {
    this.name = name;
    this.program = program;
  }

  /** Makes it; needs root and the command `ip`. Throws {@link FaultNotInjectedError} where that is not to be had. */
  static async make(binary: string, programFile: string): Promise<NetworkNamespace> {
    const name = `chaos-${process.pid}`;
    const outer = `chaos${process.pid % 10_000}`;
    const namespace = new NetworkNamespace(name, programFile);
    try {
      await ip('netns', 'add', name);
      await ip('link', 'add', outer, 'type', 'veth', 'peer', 'name', 'cable', 'netns', name);
      await ip('address', 'add', `${OUTER}/30`, 'dev', outer);
      await ip('link', 'set', outer, 'up');
      await ip('-n', name, 'address', 'add', `${INNER}/30`, 'dev', 'cable');
      await namespace.connect();
      await ip('-n', name, 'link', 'set', 'lo', 'up');
    } catch (error) {
      await namespace.remove().catch(() => undefined); // there may be nothing yet, or no "ip" at all
      throw new FaultNotInjectedError(
        'a cut in a network namespace',
        `it needs root and "ip": ${errorMessage(error)}`,
        error,
      );
    }
    await writeFile(programFile, `#!/bin/sh\nexec ip netns exec ${name} '${binary}' "$@"\n`);
    await chmod(programFile, 0o755);
    return namespace;
  }

  /** Pulls the cable at the inner end: what the outside sends still leaves, and arrives nowhere. */
  async cut(): Promise<void> {
    await ip('-n', this.name, 'link', 'set', 'cable', 'down');
  }

  async connect(): Promise<void> {
    await ip('-n', this.name, 'link', 'set', 'cable', 'up');
  }

  /** Its cable goes with it. Nothing when there is none. */
  async remove(): Promise<void> {
    try {
      await ip('netns', 'del', this.name);
    } catch (error) {
      if (!/No such file/.test(errorMessage(error))) throw error;
    }
  }
}

async function ip(...args: string[]): Promise<void> {
  await run('ip', args, { timeout: TIMEOUT_MS });
}
