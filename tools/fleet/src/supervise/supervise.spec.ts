import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ManualClock } from '@flotilla/testing';
import { ConsoleFeed } from './console-feed.ts';
import { hangs } from './liveness.ts';
import { condense, parseLogLine } from './log-line.ts';
import { RestartPolicy } from './restart-policy.ts';
import { RotatingLog } from './rotating-log.ts';

describe('a log line', () => {
  it.each([
    [
      '{"level":50,"time":1700000000000,"msg":"it broke","err":{"message":"no disk"}}',
      'ERROR it broke: no disk',
    ],
    ['{"level":"warn","time":"2026-01-01T00:00:00.000Z","msg":"slow"}', 'WARN  slow'],
    ['{"level":"info","msg":"no disk","err":{"message":"no disk"}}', 'INFO  no disk'],
    ['{"level":"error","err":{"message":"alone"}}', 'ERROR alone'],
  ])('%s is condensed', (text, expected) => {
    const line = parseLogLine(text);
    expect(line && condense(line)).toBe(expected);
  });

  it('knows its time in both forms', () => {
    expect(parseLogLine('{"time":1700000000000}')?.at).toBe(1_700_000_000_000);
    expect(parseLogLine('{"time":"2026-01-01T00:00:00.000Z"}')?.at).toBe(Date.UTC(2026, 0, 1));
    expect(parseLogLine('{"time":"soon"}')?.at).toBeUndefined();
  });

  it.each(['', 'Error: boom', '{"level":50', '    at x.ts:1'])('"%s" is none', (text) => {
    expect(parseLogLine(text)).toBeUndefined();
  });
});

describe('the console', () => {
  const feedAt = (clock: ManualClock): { shown: string[]; feed: ConsoleFeed } => {
    const shown: string[] = [];
    return { shown, feed: new ConsoleFeed((line) => shown.push(line), clock) };
  };

  it('shows warnings and errors, and what is no log line', () => {
    const { shown, feed } = feedAt(new ManualClock());
    feed.line('orders', '{"level":30,"msg":"fine"}');
    feed.line('orders', '{"level":40,"msg":"hm"}');
    feed.line('orders', 'Error: boom');
    expect(shown).toEqual(['[orders] WARN  hm', '[orders] Error: boom']);
  });

  it('shows what repeats once in a while, with how often it came', async () => {
    const clock = new ManualClock();
    const { shown, feed } = feedAt(clock);
    for (let number = 0; number < 5; number++)
      feed.line('orders', `{"level":50,"msg":"order ${number} failed"}`);
    feed.line('payments', '{"level":50,"msg":"order 1 failed"}');
    expect(shown).toEqual(['[orders] ERROR order 0 failed', '[payments] ERROR order 1 failed']);
    await clock.advance(10_000);
    feed.line('orders', '{"level":50,"msg":"order 9 failed"}');
    expect(shown.at(-1)).toBe('[orders] ERROR order 9 failed (and 4 more like it)');
  });
});

describe('a process that ended', () => {
  it('is started again at once, later each time, and rarely in a crash loop', () => {
    const policy = new RestartPolicy();
    const decisions = [0, 1, 2, 3, 4].map((second) => policy.exited(second * 1_000));
    expect(decisions[0]).toEqual({ delayMs: 0, crashLoop: false });
    for (const [at, atMost] of [500, 1_000, 2_000].entries()) {
      expect(decisions[at + 1]?.delayMs).toBeGreaterThanOrEqual(atMost / 2);
      expect(decisions[at + 1]?.delayMs).toBeLessThanOrEqual(atMost);
    }
    expect(decisions[4]).toEqual({ delayMs: 30_000, crashLoop: true });
    expect(policy.exited(120_000)).toEqual({ delayMs: 0, crashLoop: false });
  });
});

describe('a process that neither ends nor answers', () => {
  let clock: ManualClock;
  let alive: boolean;
  let asked: number;
  let hung: boolean | undefined;
  const ended = new AbortController();

  beforeEach(() => {
    clock = new ManualClock();
    alive = true;
    asked = 0;
    hung = undefined;
    const ask = async (timeoutMs: number): Promise<boolean> => {
      asked += 1;
      if (!alive) await clock.sleep(timeoutMs);
      return alive;
    };
    void hangs({ ask, hungAfterMs: 30_000, clock, signal: ended.signal }).then((is) => (hung = is));
  });
  afterAll(() => ended.abort());
  const pass = async (seconds: number): Promise<void> => {
    for (let second = 0; second < seconds; second++) await clock.advance(1_000);
  };

  it('hangs when three questions in a row were not answered', async () => {
    await pass(60);
    alive = false;
    await pass(20);
    expect(hung).toBeUndefined();
    await pass(14);
    expect(hung).toBe(true);
  });

  it('does not when it answers in between', async () => {
    for (let round = 0; round < 5; round++) {
      alive = false;
      await pass(20);
      alive = true;
      await pass(10);
    }
    expect(asked).toBeGreaterThan(10);
    expect(hung).toBeUndefined();
  });

  it('gets time anew when this machine slept, or this process was held', async () => {
    alive = false;
    for (let round = 0; round < 5; round++) {
      await pass(15);
      clock.jumpTo(clock.now() + 3_600_000);
      await pass(10);
    }
    expect(hung).toBeUndefined();
    await pass(40);
    expect(hung).toBe(true);
  });
});

describe('a log file', () => {
  it('is put aside when it is full, and only so many are kept', () => {
    const folder = mkdtempSync(join(tmpdir(), 'flotilla-log-'));
    try {
      const file = join(folder, 'orders.log');
      const log = new RotatingLog(file, { maxBytes: 20, keep: 2 });
      for (const line of ['first', 'second', 'third', 'fourth', 'fifth', 'sixth', 'seventh'])
        log.write(`${line} line\n`);
      log.close();
      const reopened = new RotatingLog(file, { maxBytes: 20, keep: 2 });
      reopened.write('eighth line\n');
      reopened.close();
      const kept = ['.2', '.1', ''].map((suffix) => readFileSync(`${file}${suffix}`, 'utf8'));
      expect(kept.join('')).toMatch(/sixth line\nseventh line\neighth line\n$/);
      expect(existsSync(`${file}.3`)).toBe(false);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
