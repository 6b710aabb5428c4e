import type { Command } from 'commander';
import { jsonSchemaOf } from '@flotilla/contracts-protocol';
import { checkContracts } from '../contracts/check-contracts.ts';
import { apiChanges, messageChanges } from '../contracts/document-changes.ts';
import { publishedContracts } from '../contracts/fleet-contracts.ts';
import { UsageError } from '../fleet.errors.ts';
import { discoverServices } from '../services.ts';
import type { Terminal } from '../terminal.ts';
import { withJson, type CommandContext } from './shared.ts';

/** `fleet contracts` */
export function addContracts(program: Command, { terminal }: CommandContext): void {
  const contracts = program
    .command('contracts')
    .description('check and describe the messages between the services');

  withJson(
    contracts
      .command('check')
      .description(
        'whether every message that is sent has a service that answers it, and every reaction an event',
      ),
  ).action(async ({ json }: { readonly json?: boolean }) => {
    const [services, published] = await Promise.all([discoverServices(), publishedContracts()]);
    const findings = checkContracts(
      services.map(({ manifest }) => manifest),
      published,
    );
    if (findings.problems.length > 0) process.exitCode = 1;
    if (json === true) {
      terminal.print(JSON.stringify(findings, null, 2));
      return;
    }
    for (const problem of findings.problems) terminal.print(`problem  ${problem}`);
    for (const remark of findings.remarks) terminal.print(`remark   ${remark}`);
    terminal.print(
      `${published.length} contracts, ${services.length} services: ${findings.problems.length} problems, ` +
        `${findings.remarks.length} remarks`,
    );
  });

  withJson(
    contracts
      .command('docs')
      .description(
        'write the AsyncAPI and OpenAPI documents, their pages (docs/reference) and the tables in the READMEs of apps',
      )
      .argument('[types...]', 'with --print: such as orders.PlaceOrder.v1; all without')
      .option('--check', 'write nothing, and fail when a committed file is not what the code says')
      .option('--print', 'print the JSON Schemas (draft 2020-12) of contracts, and write nothing'),
  ).action(async (types: readonly string[], { check, print, json }: DocsOptions) => {
    if (print === true) return printSchemas(types, terminal);
    if (types.length > 0) throw new UsageError('Only --print takes message types: the documents have all.');
    // The parsers are large, and only this command needs them.
    const { fleetReference, staleFiles, writeReference } = await import('../contracts/reference.ts');
    const reference = await fleetReference();
    if (check !== true) {
      const changed = await writeReference(reference);
      if (json === true) terminal.print(JSON.stringify({ changed }, null, 2));
      else if (changed.length === 0) terminal.print('nothing changed');
      else for (const file of changed) terminal.print(`written  ${file}`);
      return;
    }
    const stale = await staleFiles(reference);
    if (stale.length > 0) process.exitCode = 1;
    if (json === true) {
      terminal.print(JSON.stringify({ stale }, null, 2));
      return;
    }
    for (const { file, why } of stale) terminal.print(`stale  ${file}: ${why}`);
    terminal.print(
      stale.length === 0
        ? `${reference.committed.size} files are what the code says; the documents are valid`
        : 'Write them again with "npm run fleet -- contracts docs", and commit what changed.',
    );
  });

  withJson(
    contracts
      .command('diff')
      .description(
        'what changed in the messages and the HTTP API since a commit, and whether programs of then still work',
      )
      .option(
        '--base <ref or file>',
        'a commit, or a document in a file (default: where this branch left main)',
      ),
  ).action(async ({ base: name, json }: DiffOptions) => {
    const [{ fleetDocuments }, { loadBase }] = await Promise.all([
      import('../contracts/reference.ts'),
      import('../contracts/base-documents.ts'),
    ]);
    const base = await loadBase(name);
    const { asyncApi, openApi } = await fleetDocuments(await discoverServices());
    const changes = [
      ...(base.asyncApi ? messageChanges(base.asyncApi, asyncApi) : []),
      ...(base.openApi ? apiChanges(base.openApi, openApi) : []),
    ].map((change) => ({ ...change, meant: change.breaking && base.meant.includes(change.of) }));
    const breaking = changes.filter((change) => change.breaking && !change.meant);
    if (breaking.length > 0) process.exitCode = 1;
    const compared = base.asyncApi !== undefined || base.openApi !== undefined;
    if (json === true) {
      terminal.print(
        JSON.stringify({ base: base.name, compared, breaking: breaking.length, changes }, null, 2),
      );
      return;
    }
    if (!compared) {
      terminal.print(`${base.name} has no documents yet: there is nothing to compare with`);
      return;
    }
    for (const { of, part, path, text, breaking: breaks, meant } of changes) {
      const where = [of, part, path].filter((each) => each !== '').join(' ');
      terminal.print(`${meant ? 'meant   ' : breaks ? 'BREAKING' : 'ok      '}  ${where}: ${text}`);
    }
    terminal.print(`since ${base.name}: ${changes.length} changes, ${breaking.length} breaking`);
    if (breaking.length > 0) {
      terminal.print(
        'Leave the message as it was and declare its next version beside it. Where nobody can be using it, say so in a ' +
          `commit of this branch, on a line of its own at the end: "Breaks-Contract: ${breaking[0]?.of}".`,
      );
    }
  });
}

interface DocsOptions {
  readonly check?: boolean;
  readonly print?: boolean;
  readonly json?: boolean;
}

interface DiffOptions {
  readonly base?: string;
  readonly json?: boolean;
}

async function printSchemas(types: readonly string[], terminal: Terminal): Promise<void> {
  const published = await publishedContracts();
  const unknown = types.filter((type) => !published.some((each) => each.type === type));
  if (unknown.length > 0) {
    throw new UsageError(
      `There is no contract ${unknown.join(', ')}. There are: ${published.map(({ type }) => type).join(', ')}.`,
    );
  }
  const wanted = types.length === 0 ? published : published.filter(({ type }) => types.includes(type));
  terminal.print(
    JSON.stringify(
      wanted.map((each) => jsonSchemaOf(each)),
      null,
      2,
    ),
  );
}
