import type { Command } from 'commander';
import { jsonSchemaOf } from '@flotilla/contracts-protocol';
import { checkContracts } from '../contracts/check-contracts.ts';
import { publishedContracts } from '../contracts/fleet-contracts.ts';
import { UsageError } from '../fleet.errors.ts';
import { discoverServices } from '../services.ts';
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

  contracts
    .command('docs')
    .description('the JSON Schemas (draft 2020-12) of the contracts, as JSON')
    .argument('[types...]', 'such as orders.PlaceOrder.v1; all without')
    .action(async (types: readonly string[]) => {
      const published = await publishedContracts();
      const unknown = types.filter((type) => !published.some((each) => each.type === type));
      if (unknown.length > 0) {
        throw new UsageError(
          `There is no contract ${unknown.join(', ')}. There are: ${published.map(({ type }) => type).join(', ')}.`,
        );
      }
      const wanted = types.length === 0 ? published : published.filter(({ type }) => types.includes(type));
      terminal.print(JSON.stringify(wanted.map(jsonSchemaOf), null, 2));
    });
}
