import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Report } from '../src/report.ts';
import type { BenchmarkResult } from '../src/result.ts';
import { workspaceRoot } from '../src/workspace.ts';

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command as a user runs it. */
async function bench(...argv: string[]): Promise<Ended> {
  const child = spawn(
    process.execPath,
    ['--conditions=@flotilla/source', join(workspaceRoot, 'tools/bench/src/main.ts'), ...argv],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, stdout, stderr };
}

describe('a smoke run', () => {
  let out: string;
  let profiles: string;
  let ended: Ended;
  let report: Report;

  beforeAll(async () => {
    out = mkdtempSync(join(tmpdir(), 'bench-out-'));
    profiles = join(out, 'profiles');
    ended = await bench(
      'a',
      'b',
      'c',
      '--quick',
      '--json',
      '--pg-stat',
      '--out',
      out,
      '--cpu-prof',
      profiles,
    );
    if (ended.code === 0) report = JSON.parse(ended.stdout) as Report;
  }, 240_000);
  afterAll(() => rmSync(out, { recursive: true, force: true }));

  const resultOf = (id: string): BenchmarkResult => {
    const result = report.benchmarks.find((each) => each.id === id);
    if (result === undefined) throw new Error(`There is no ${id}: ${ended.stderr}`);
    return result;
  };
  const parameters = (id: string): unknown[] => resultOf(id).rows.map((row) => row.parameters);

  it('ends well, and keeps what it printed', () => {
    expect(ended).toMatchObject({ code: 0 });
    const [file = ''] = readdirSync(out).filter((name) => name.endsWith('.json'));
    expect(JSON.parse(readFileSync(join(out, file), 'utf8'))).toEqual(report);
    expect(report.machine.versions['node']).toBe(process.versions.node);
    expect(report.machine.versions['postgres']).toMatch(/^\d+\./);
  });

  it('asks and is answered, each contestant the same way', () => {
    expect(parameters('a')).toEqual(['flotilla', 'nest', 'raw'].map((who) => ({ who, 'in flight': 8 })));
    expect(resultOf('a').counts['requests, each answered once']).toBeGreaterThan(0);
  });

  it('has every event handled once', () => {
    expect(parameters('b')).toEqual([{ load: '8 in flight' }, { load: '50 per second' }]);
    expect(resultOf('b').counts['events handled, each once']).toBeGreaterThan(0);
  });

  it('completes every saga, with each step once', () => {
    expect(parameters('c')).toEqual([{ 'in flight': 8 }]);
    const { counts } = resultOf('c');
    expect(counts['flotilla: sagas completed']).toBeGreaterThan(0);
    expect(counts['flotilla: rows, each once']).toBe((counts['flotilla: sagas completed'] ?? 0) * 4);
  });

  it('measures every figure', () => {
    for (const { rows } of report.benchmarks) {
      for (const { figures } of rows) {
        for (const { median, runs } of Object.values(figures)) {
          expect(median).toBeGreaterThanOrEqual(0);
          expect(runs).toHaveLength(1);
        }
      }
    }
  });

  it('shows what Postgres did, and leaves a profile of each process', () => {
    const statements = resultOf('c').statements ?? [];
    const inserts = statements.find(({ text }) => text.startsWith('INSERT INTO entries'));
    expect(inserts).toMatchObject({
      database: 'bench-participant',
      calls: resultOf('c').counts['flotilla: rows, each once'],
    });
    const profiled = readdirSync(profiles).map((file) => file.replace(/-\d+-\d+\.cpuprofile$/, ''));
    expect(profiled).toEqual(
      expect.arrayContaining(['owner', 'participant', 'producer', 'consumer', 'caller']),
    );
  });

  it('prints its file as Markdown', async () => {
    const [file = ''] = readdirSync(out).filter((name) => name.endsWith('.json'));
    const { code, stdout } = await bench('--markdown', join(out, file));
    expect(code).toBe(0);
    expect(stdout).toContain('### (c) a saga of four steps over two services');
    expect(stdout).toMatch(/^\| CPU ms per saga \| 8 \|$/m);
  });
});

it('says what is wrong with the arguments, and starts nothing', async () => {
  expect(await bench('z')).toEqual({
    code: 2,
    stdout: '',
    stderr: 'BENCH_USAGE: There is no benchmark z; there are a, b, c, d, e, f, g\n',
  });
  const manifest = join(workspaceRoot, 'package.json');
  expect(await bench('--markdown', manifest)).toMatchObject({
    code: 2,
    stderr: `BENCH_USAGE: ${manifest} was not written by "npm run bench"\n`,
  });
});
