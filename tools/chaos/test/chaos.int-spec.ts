import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { assertPortFree } from '@flotilla/embedded';
import type { ChaosReport } from '../src/report.ts';
import { workspaceRoot } from '../src/workspace.ts';

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command as a user runs it. */
async function chaos(...argv: string[]): Promise<Ended> {
  const child = spawn(
    process.execPath,
    ['--conditions=@flotilla/source', join(workspaceRoot, 'tools/chaos/src/main.ts'), ...argv],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, stdout, stderr };
}

/** The first of 40 ports that are all free now. */
async function freePortBlock(): Promise<number> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const base = 25_000 + Math.floor(Math.random() * 100) * 50;
    const ports = Array.from({ length: 40 }, (_, at) => base + at);
    const tried = await Promise.allSettled(ports.map((port) => assertPortFree(port, 'a fleet')));
    if (tried.every(({ status }) => status === 'fulfilled')) return base;
  }
  throw new Error('No block of 40 free ports was found');
}

describe('a short run', () => {
  const kinds = ['kill-after-commit', 'nats-restart', 'poison'];
  let ended: Ended;
  let report: ChaosReport;

  beforeAll(async () => {
    const base = String(await freePortBlock());
    ended = await chaos(
      '--faults',
      kinds.join(),
      '--minutes',
      '0.2',
      '--rate',
      '4',
      '--port-base',
      base,
      '--json',
    );
    if (ended.code === 0) report = JSON.parse(ended.stdout) as ChaosReport;
  }, 300_000);

  it('passes: nothing is lost, nothing happened twice, and every check holds', () => {
    expect({ code: ended.code, stderr: ended.code === 0 ? '' : ended.stderr }).toEqual({
      code: 0,
      stderr: '',
    });
    const [world] = report.worlds;
    expect(world).toMatchObject({ kind: 'single', lost: 0, duplicated: 0, poison: 5, failures: [] });
    expect(world?.orders.accepted).toBe(world?.orders.sent);
    expect(world?.checks.filter(({ ok }) => !ok)).toEqual([]);
    expect(world?.checks.length).toBeGreaterThan(40);
  });

  it('has injected each fault, seen it, and waited for recovery', () => {
    const faults = report.worlds.flatMap((world) => world.faults);
    expect(faults.map(({ name }) => name).sort()).toEqual(expect.arrayContaining(kinds));
    for (const { recoveryMs, orders } of faults) {
      expect(recoveryMs).toBeGreaterThan(0);
      expect(orders).toBeGreaterThan(0);
    }
    const seen = (name: string): string | undefined => faults.find((each) => each.name === name)?.seen;
    expect(seen('nats-restart')).toMatch(/not ready, .*nats down/);
    expect(seen('poison')).toMatch(
      /^dead letters: UNDECODABLE_MESSAGE, UNKNOWN_MESSAGE, MALFORMED_ENVELOPE, INVALID_MESSAGE/,
    );
  });
});

it('lists what it can break', async () => {
  const { code, stdout } = await chaos('--list');
  expect(code).toBe(0);
  expect(stdout).toContain('cluster-cut (three NATS servers)');
});

it('says what is wrong with the arguments, and starts nothing', async () => {
  const { code, stdout, stderr } = await chaos('--faults', 'meteor');
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^CHAOS_USAGE: There is no fault meteor; there are kill-service,/);
});
