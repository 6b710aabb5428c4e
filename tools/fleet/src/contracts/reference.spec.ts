import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { defineCommand, defineEvent, defineService } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { UsageError } from '../fleet.errors.ts';
import { loadBase } from './base-documents.ts';
import { messageTables, withMessageTables } from './readme-block.ts';
import { ASYNCAPI_FILE, staleFiles, writeReference, type Reference } from './reference.ts';

class Pay extends defineCommand({
  owner: 'till',
  name: 'Pay',
  version: 1,
  payload: z.object({ id: z.string() }),
  errors: { Broke: z.object({}) },
}) {}
class Paid extends defineEvent({
  owner: 'till',
  name: 'Paid',
  version: 1,
  payload: z.object({ id: z.string() }),
  aggregate: ({ id }) => id,
}) {}
const till = defineService({ name: 'till', handles: [Pay], publishes: [Paid] });
const shop = defineService({
  name: 'shop',
  sends: [Pay],
  reacts: { paid: { events: [Paid], ordered: true } },
});

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'flotilla-reference-'));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

function write(file: string, text: string): void {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
}

describe('the tables of a README', () => {
  it('say what comes in from whom and what goes out to whom', () => {
    expect(messageTables(till, [till, shop])).toBe(
      [
        '| in | kind | from | refuses |',
        '| --- | --- | --- | --- |',
        '| `till.Pay.v1` | command | shop | `Broke` |',
        '',
        '| out | kind | to |',
        '| --- | --- | --- |',
        '| `till.Paid.v1` | event | shop |',
        '',
      ].join('\n'),
    );
    expect(messageTables(shop, [till, shop])).toContain(
      '| `till.Paid.v1` | event, ordered `paid` | till | |',
    );
    expect(messageTables(shop, [till, shop])).toContain('| `till.Pay.v1` | durable command | till |');
    expect(messageTables(defineService({ name: 'idle' }), [])).toBe('None.\n');
  });

  it('come at the end at first, and stay where they are moved to', () => {
    const first = withMessageTables('# till\n\nText.\n', 'one\n');
    expect(first).toMatch(/^# till\n\nText\.\n\n## Messages in and out\n\n<!--.*-->\n\none\n\n<!--.*-->\n$/);
    const moved = `${first}\n## After\n`;
    expect(withMessageTables(moved, 'two\n')).toBe(moved.replace('one', 'two'));
    expect(withMessageTables(moved, 'one\n')).toBe(moved);
  });
});

describe('what is generated', () => {
  const reference: Reference = {
    committed: new Map([
      ['docs/reference/a.json', '{\n  "a": 1\n}\n'],
      ['apps/till/README.md', 'text\n'],
    ]),
    pages: new Map([['docs/reference/a.html', '<p>']]),
  };

  it('is stale when it is missing or another, and the first difference is named', async () => {
    write('docs/reference/a.json', '{\n  "a": 2\n}\n');
    expect(await staleFiles(reference, root)).toEqual([
      { file: 'docs/reference/a.json', why: 'line 2 is ""a": 2", the code says ""a": 1"' },
      { file: 'apps/till/README.md', why: 'is missing' },
    ]);
  });

  it('is written where it differs, and not stale then', async () => {
    write('apps/till/README.md', 'text\n');
    expect(await writeReference(reference, root)).toEqual(['docs/reference/a.json', 'docs/reference/a.html']);
    expect(readFileSync(join(root, 'docs/reference/a.html'), 'utf8')).toBe('<p>');
    expect(await writeReference(reference, root)).toEqual([]);
    expect(await staleFiles(reference, root)).toEqual([]);
  });

  it('is stale when lines were added after it', async () => {
    await writeReference(reference, root);
    write('docs/reference/a.json', '{\n  "a": 1\n}\nmore\n');
    expect(await staleFiles(reference, root)).toEqual([
      { file: 'docs/reference/a.json', why: expect.stringContaining('line 4') as string },
    ]);
  });
});

describe('the base of a comparison', () => {
  const git = (...args: string[]): string =>
    execFileSync('git', ['-c', 'user.name=test', '-c', 'user.email=test@localhost', ...args], {
      cwd: root,
      encoding: 'utf8',
    });
  const commit = (subject: string, ...trailers: string[]): void => {
    git('add', '--all');
    const message = [subject, '', ...trailers].join('\n');
    git('-c', 'commit.gpgsign=false', 'commit', '--quiet', '--allow-empty', '-m', message);
  };

  it('is where the branch left main, with what its commits say is meant', async () => {
    git('init', '--quiet', '--initial-branch=main');
    write(ASYNCAPI_FILE, '{"asyncapi":"3.0.0","info":1}');
    commit('On main');
    git('checkout', '--quiet', '-b', 'work');
    write(ASYNCAPI_FILE, '{"asyncapi":"3.0.0","info":2}');
    commit('On the branch', 'Breaks-Contract: till.Pay.v1', 'Breaks-Contract: GET /v1/a');
    commit('More');

    expect(await loadBase(undefined, root)).toEqual({
      name: git('rev-parse', 'main').slice(0, 12),
      asyncApi: { asyncapi: '3.0.0', info: 1 },
      meant: ['till.Pay.v1', 'GET /v1/a'],
    });
    expect(await loadBase('HEAD~1', root)).toMatchObject({ asyncApi: { info: 2 }, meant: [] });
    await expect(loadBase('nothing', root)).rejects.toThrow(/"nothing" is neither a file nor a commit/);
  });

  it('may be a document in a file', async () => {
    write('a.json', '{"openapi":"3.1.0"}');
    write('b.json', '{}');
    write('c.json', 'text');
    expect(await loadBase(join(root, 'a.json'), root)).toMatchObject({
      openApi: { openapi: '3.1.0' },
      meant: [],
    });
    await expect(loadBase(join(root, 'b.json'), root)).rejects.toThrow(UsageError);
    await expect(loadBase(join(root, 'c.json'), root)).rejects.toThrow(/is not JSON/);
    await expect(loadBase(undefined, root)).rejects.toThrow(/no Git repository/);
  });
});
