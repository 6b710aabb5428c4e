import type { Command } from 'commander';
import { discoverServices, selectServices } from '../services.ts';
import { findMigrationTargets, migrateServices } from '../stack/migrations.ts';
import { table } from '../terminal.ts';
import { dirOf, names, withData, withJson, type CommandContext, type DataOption } from './shared.ts';

interface MigrateOptions extends DataOption {
  readonly only?: readonly string[];
  readonly json?: boolean;
}

/** `fleet migrate` */
export function addMigrate(program: Command, { terminal }: CommandContext): void {
  withJson(
    withData(
      program
        .command('migrate')
        .description(
          'bring the databases to the schema that the services need, and let the services use it: those of ' +
            '<SERVICE>_MIGRATOR_DATABASE_URL, such as ORDERS_MIGRATOR_DATABASE_URL, or of <SERVICE>_DATABASE_URL when ' +
            'one role does both, else those of the running fleet',
        )
        .option('--only <services>', 'these services only', names),
    ),
  ).action(async (options: MigrateOptions) => {
    const services = selectServices(await discoverServices(), options.only).filter(
      ({ manifest }) => manifest.database,
    );
    const targets = await findMigrationTargets(services, dirOf(options));
    const results = await migrateServices(services, targets);
    if (options.json === true) {
      terminal.print(JSON.stringify(results, null, 2));
      return;
    }
    terminal.print(
      table(
        ['database of', 'applied now', 'there before'],
        results.map(({ service, applied, present }) => [
          service,
          String(applied.length),
          String(present.length),
        ]),
      ),
    );
    for (const { service, applied } of results)
      for (const name of applied) terminal.print(`  ${service}: ${name}`);
  });
}
