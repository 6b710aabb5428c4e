import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { contractsOf, type AnyMessageClass, type Contract } from '@flotilla/contracts-protocol';
import type { Service } from '../services.ts';
import { workspaceRoot } from '../workspace.ts';

/** Every contract that some service answers, calls, sends, publishes or reacts to, by its type. */
export function contractsByType(services: readonly Service[]): Map<string, Contract> {
  const contracts = services.flatMap(({ manifest }) => contractsOf(classesOf(manifest)));
  return new Map(contracts.map((contract) => [contract.type, contract]));
}

/** Every contract that the packages in `libs/contracts` export. */
export async function publishedContracts(root: string = workspaceRoot): Promise<Contract[]> {
  const folder = join(root, 'libs/contracts');
  const files = readdirSync(folder)
    .map((name) => join(folder, name, 'src/index.ts'))
    .filter((file) => existsSync(file));
  const modules = await Promise.all(
    files.map(async (file) => (await import(pathToFileURL(file).href)) as Record<string, unknown>),
  );
  const contracts = modules.flatMap((exports) =>
    Object.values(exports).flatMap((each) => contractIn(each) ?? []),
  );
  return contracts.sort((a, b) => (a.type < b.type ? -1 : 1));
}

function classesOf({ answers, calls, sends, publishes, reacts }: Service['manifest']): AnyMessageClass[] {
  return [
    ...answers,
    ...calls,
    ...sends,
    ...publishes,
    ...Object.values(reacts).flatMap(({ events }) => events),
  ];
}

function contractIn(value: unknown): Contract | undefined {
  return typeof value === 'function' && 'contract' in value
    ? (value as unknown as AnyMessageClass).contract
    : undefined;
}
