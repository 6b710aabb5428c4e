import type { Command } from 'commander';
import { discoverServices } from '../services.ts';
import { deployedNats } from '../stack/nats-access.ts';
import { provisionFleet, provisionRunning } from '../stack/provisioning.ts';
import { requireState } from '../stack/state.ts';
import { dirOf, withData, withJson, wholeNumber, type CommandContext, type DataOption } from './shared.ts';

interface ProvisionOptions extends DataOption {
  readonly replicas?: number;
  readonly deleteStale?: boolean;
  readonly json?: boolean;
}

/** `fleet provision` */
export function addProvision(program: Command, { terminal }: CommandContext): void {
  withJson(
    withData(
      program
        .command('provision')
        .description(
          'make the streams and consumers what the contracts say and read them back: on the broker of NATS_URL ' +
            '(NATS_USER, NATS_PASSWORD, NATS_TLS_CA), else that of the running fleet, with its users too',
        )
        .option('--replicas <n>', 'copies of every stream, 3 on a cluster (or NATS_REPLICAS)', wholeNumber(1))
        .option('--delete-stale', 'delete consumers that no service has any more'),
    ),
  ).action(async ({ replicas, deleteStale, ...options }: ProvisionOptions) => {
    const services = await discoverServices();
    const copies = replicas ?? wholeNumber(1)(process.env['NATS_REPLICAS'] ?? '1');
    const dir = dirOf(options);
    const how = { replicas: copies, ...(deleteStale !== undefined && { deleteStale }) };
    const deployed = deployedNats();
    const report =
      deployed === undefined
        ? await provisionRunning(dir, await requireState(dir), services, how)
        : await provisionFleet(deployed, services, how);
    if (options.json === true) {
      const { identities: _secret, ...facts } = { identities: undefined, ...report };
      terminal.print(JSON.stringify(facts, null, 2));
      return;
    }
    if ('usersChanged' in report && report.usersChanged)
      terminal.print('NATS users changed, without a restart');
    for (const change of ['created', 'updated', 'deleted'] as const) {
      for (const name of report[change]) terminal.print(`${change.padEnd(8)} ${name}`);
    }
    terminal.print(
      `${report.created.length} created, ${report.updated.length} updated, ${report.unchanged.length} unchanged`,
    );
    if (report.stale.length > 0) {
      terminal.note(
        `Consumers that no service has, where messages wait for nobody: ${report.stale.join(', ')}. ` +
          'Delete them with --delete-stale.',
      );
    }
  });
}
