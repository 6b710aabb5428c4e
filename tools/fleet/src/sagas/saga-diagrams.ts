import { globSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { sagaDiagram } from '@flotilla/saga';
import { workspaceRoot } from '../workspace.ts';
import type { DeclaredSaga } from './saga-definitions.ts';

/** A place in a document where a saga is drawn: `<!-- saga:<name> -->` to `<!-- /saga:<name> -->`. */
const PLACE = /<!-- saga:([a-z0-9-]+) -->\n([\s\S]*?)<!-- \/saga:\1 -->/g;

const DOCUMENTS = ['docs/**/*.md', 'apps/*/README.md', 'libs/*/README.md'];

/** What the documents show of the sagas. */
export interface DiagramFindings {
  /** Documents whose drawings differ from the definitions, relative to the workspace. */
  readonly stale: readonly string[];
  /** Places that name no saga, a line each. */
  readonly problems: readonly string[];
  /** Sagas that no document draws. */
  readonly undrawn: readonly string[];
}

/** Compares the drawings in the documents with the definitions; `write` brings them up to date. */
export function checkDiagrams(
  sagas: readonly DeclaredSaga[],
  { root = workspaceRoot, write }: { readonly root?: string; readonly write: boolean },
): DiagramFindings {
  const stale: string[] = [];
  const problems: string[] = [];
  const drawn = new Set<string>();
  for (const path of DOCUMENTS.flatMap((pattern) => globSync(pattern, { cwd: root })).sort()) {
    const file = join(root, path);
    const text = readFileSync(file, 'utf8');
    const { result, names, unknown } = withDiagrams(text, sagas);
    for (const name of names) drawn.add(name);
    problems.push(
      ...unknown.map((name) => `${relative(root, file)} draws saga "${name}", which no service declares`),
    );
    if (result === text) continue;
    stale.push(relative(root, file));
    if (write) writeFileSync(file, result);
  }
  const undrawn = [...new Set(sagas.map(({ name }) => name))].filter((name) => !drawn.has(name));
  return { stale, problems, undrawn };
}

/** A document with its drawings as the definitions are now: of each saga the newest version. */
export function withDiagrams(
  text: string,
  sagas: readonly DeclaredSaga[],
): { readonly result: string; readonly names: readonly string[]; readonly unknown: readonly string[] } {
  const names: string[] = [];
  const unknown: string[] = [];
  const result = text.replace(PLACE, (whole, name: string) => {
    const saga = sagas.filter((each) => each.name === name).at(-1);
    (saga === undefined ? unknown : names).push(name);
    if (saga === undefined) return whole;
    return `<!-- saga:${name} -->\n\n\`\`\`mermaid\n${sagaDiagram(saga)}\`\`\`\n\n<!-- /saga:${name} -->`;
  });
  return { result, names, unknown };
}
