import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { InvalidDocumentError } from '../fleet.errors.ts';
import { discoverServices, type Service } from '../services.ts';
import { workspaceRoot } from '../workspace.ts';
import { asyncApiDocument } from './asyncapi.ts';
import { contractComments } from './doc-comments.ts';
import { publishedContracts } from './fleet-contracts.ts';
import { asyncApiPage, indexPage, openApiPage } from './pages.ts';
import { messageTables, withMessageTables } from './readme-block.ts';
import { documentText, tidySchema, type Json } from './schema-document.ts';
import { asyncApiProblems, openApiProblems } from './validate-documents.ts';

export const ASYNCAPI_FILE = 'docs/reference/asyncapi.json';
export const OPENAPI_FILE = 'docs/reference/openapi.json';

/** The documents of the fleet as they follow from the code of this moment. */
export interface Documents {
  readonly asyncApi: Json;
  readonly openApi: Json;
}

/** Everything that is generated, by its path in the workspace. */
export interface Reference {
  /** Committed: the documents, and the services' READMEs with their tables. */
  readonly committed: ReadonlyMap<string, string>;
  /** Not committed: the pages. */
  readonly pages: ReadonlyMap<string, string>;
}

/** Makes the documents from the contracts, the manifests and the gateway's routes; nothing is started. */
export async function fleetDocuments(
  services: readonly Service[],
  root: string = workspaceRoot,
): Promise<Documents> {
  const [contracts, openApi, manifest] = await Promise.all([
    publishedContracts(root),
    gatewayDocument(root),
    readFile(join(root, 'package.json'), 'utf8'),
  ]);
  const asyncApi = asyncApiDocument({
    version: (JSON.parse(manifest) as { readonly version: string }).version,
    manifests: services.map((service) => service.manifest),
    contracts,
    comments: contractComments(root),
  });
  return { asyncApi, openApi };
}

/**
 * Makes documents, pages and tables, and has the official parsers read the documents. Throws
 * {@link InvalidDocumentError} with all that they find.
 */
export async function fleetReference(root: string = workspaceRoot): Promise<Reference> {
  const services = await discoverServices(root);
  const { asyncApi, openApi } = await fleetDocuments(services, root);
  const problems = [
    ...(await asyncApiProblems(asyncApi)).map((problem) => `${ASYNCAPI_FILE}: ${problem}`),
    ...(await openApiProblems(openApi)).map((problem) => `${OPENAPI_FILE}: ${problem}`),
  ];
  if (problems.length > 0) throw new InvalidDocumentError(problems);

  const committed = new Map([
    [ASYNCAPI_FILE, documentText(asyncApi)],
    [OPENAPI_FILE, documentText(openApi)],
  ]);
  const about = new Map<string, string>();
  const manifests = services.map(({ manifest }) => manifest);
  for (const { name, manifest } of services) {
    const file = `apps/${name}/README.md`;
    if (!existsSync(join(root, file))) continue;
    const readme = await readFile(join(root, file), 'utf8');
    about.set(name, firstParagraph(readme));
    committed.set(file, withMessageTables(readme, messageTables(manifest, manifests)));
  }
  const pages = new Map([
    ['docs/reference/index.html', indexPage(asyncApi, openApi, about)],
    ['docs/reference/asyncapi.html', asyncApiPage(asyncApi)],
    ['docs/reference/openapi.html', openApiPage(openApi)],
  ]);
  return { committed, pages };
}

/** Of the committed files, those that are not what the code says, by path. */
export async function staleFiles(
  { committed }: Reference,
  root: string = workspaceRoot,
): Promise<{ readonly file: string; readonly why: string }[]> {
  const stale: { file: string; why: string }[] = [];
  for (const [file, text] of committed) {
    const path = join(root, file);
    if (!existsSync(path)) {
      stale.push({ file, why: 'is missing' });
      continue;
    }
    const found = (await readFile(path, 'utf8')).split('\n');
    const wanted = text.split('\n');
    const line = wanted.findIndex((each, index) => each !== found[index]);
    if (line >= 0 || found.length !== wanted.length) {
      const at = line >= 0 ? line : wanted.length;
      stale.push({
        file,
        why: `line ${at + 1} is "${(found[at] ?? '').trim()}", the code says "${(wanted[at] ?? '').trim()}"`,
      });
    }
  }
  return stale;
}

/** Writes everything and returns the paths that changed. */
export async function writeReference(
  { committed, pages }: Reference,
  root: string = workspaceRoot,
): Promise<string[]> {
  const changed: string[] = [];
  for (const [file, text] of [...committed, ...pages]) {
    const path = join(root, file);
    if (existsSync(path) && (await readFile(path, 'utf8')) === text) continue;
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, text);
    changed.push(file);
  }
  return changed;
}

/** The gateway makes its document from its list of routes, a module that needs neither Nest nor a server to run. */
async function gatewayDocument(root: string): Promise<Json> {
  const file = join(root, 'apps/gateway/src/http/openapi.ts');
  const { openApiDocument } = (await import(pathToFileURL(file).href)) as { openApiDocument: () => unknown };
  return tidySchema(openApiDocument()) as Json;
}

function firstParagraph(readme: string): string {
  return (
    readme
      .split(/\n\s*\n/)
      .find((paragraph) => !paragraph.startsWith('#'))
      ?.replaceAll(/\s+/g, ' ')
      .trim() ?? ''
  );
}
