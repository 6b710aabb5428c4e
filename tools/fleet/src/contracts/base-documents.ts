import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { UsageError } from '../fleet.errors.ts';
import { workspaceRoot } from '../workspace.ts';
import { ASYNCAPI_FILE, OPENAPI_FILE } from './reference.ts';
import { isJson, type Json } from './schema-document.ts';

/** What a comparison starts from. */
export interface Base {
  /** For people: the commit or the file. */
  readonly name: string;
  /** Absent where the base has no such document. */
  readonly asyncApi?: Json;
  readonly openApi?: Json;
  /** What commits since the base say is meant: message types and operations in `Breaks-Contract:` trailers. */
  readonly meant: readonly string[];
}

const MAX_DOCUMENT_BYTES = 64 * 1024 * 1024;
const GIT_TIMEOUT_MS = 30_000;

/**
 * The documents of a commit, or one document in a file. Without a name: of the commit at which this branch left
 * `main`. Throws a {@link UsageError} for what is neither.
 */
export async function loadBase(name: string | undefined, root: string = workspaceRoot): Promise<Base> {
  if (name !== undefined && existsSync(resolve(name))) return fileBase(name);
  const commit = name === undefined ? await branchPoint(root) : await commitOf(name, root);
  if (commit === undefined) {
    throw new UsageError(
      name === undefined
        ? 'This is no Git repository with a commit to compare with: name a document with --base FILE.'
        : `"${name}" is neither a file nor a commit. In a shallow clone, fetch the history first.`,
    );
  }
  const [asyncApi, openApi] = await Promise.all(
    [ASYNCAPI_FILE, OPENAPI_FILE].map(async (file) => {
      const text = await git(root, 'show', `${commit}:${file}`);
      return text === undefined ? undefined : parse(text, `${commit}:${file}`);
    }),
  );
  const trailers = await git(
    root,
    'log',
    '--format=%(trailers:key=Breaks-Contract,valueonly)',
    `${commit}..HEAD`,
  );
  return {
    name: commit.slice(0, 12),
    ...(asyncApi && { asyncApi }),
    ...(openApi && { openApi }),
    meant: (trailers ?? '')
      .split('\n')
      .map((each) => each.trim())
      .filter((each) => each !== ''),
  };
}

async function fileBase(name: string): Promise<Base> {
  const document = parse(await readFile(resolve(name), 'utf8'), name);
  if ('asyncapi' in document) return { name, asyncApi: document, meant: [] };
  if ('openapi' in document) return { name, openApi: document, meant: [] };
  throw new UsageError(`${name} is neither an AsyncAPI nor an OpenAPI document.`);
}

/** Where this branch left main; on main itself, the commit that is checked out. */
async function branchPoint(root: string): Promise<string | undefined> {
  for (const main of ['origin/main', 'main']) {
    const base = await git(root, 'merge-base', main, 'HEAD');
    if (base !== undefined) return base.trim();
  }
  return commitOf('HEAD', root);
}

async function commitOf(name: string, root: string): Promise<string | undefined> {
  return (
    await git(root, 'rev-parse', '--verify', '--quiet', '--end-of-options', `${name}^{commit}`)
  )?.trim();
}

function parse(text: string, name: string): Json {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new UsageError(`${name} is not JSON.`);
  }
  if (!isJson(document)) throw new UsageError(`${name} is not a document.`);
  return document;
}

/** What git prints; undefined when it says no, or is not there. */
async function git(root: string, ...args: string[]): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)('git', args, {
      cwd: root,
      maxBuffer: MAX_DOCUMENT_BYTES,
      timeout: GIT_TIMEOUT_MS,
    });
    return stdout;
  } catch {
    return undefined;
  }
}
