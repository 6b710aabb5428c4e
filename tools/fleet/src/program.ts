import { Command } from 'commander';
import { addAuth } from './commands/auth.ts';
import { addBench } from './commands/bench.ts';
import { addConfig } from './commands/config.ts';
import { addConsumer } from './commands/consumer.ts';
import { addContracts } from './commands/contracts.ts';
import { addDlq } from './commands/dlq.ts';
import { addDown } from './commands/down.ts';
import { addImport } from './commands/import.ts';
import { addLogs } from './commands/logs.ts';
import { addMigrate } from './commands/migrate.ts';
import { addNatsConfig } from './commands/nats-config.ts';
import { addOperator } from './commands/operator.ts';
import { addProvision } from './commands/provision.ts';
import { addRepair } from './commands/repair.ts';
import { addSaga } from './commands/saga.ts';
import { addSchedule } from './commands/schedule.ts';
import { addSecrets } from './commands/secrets.ts';
import { addServe } from './commands/serve.ts';
import { addStatus } from './commands/status.ts';
import { addTracking } from './commands/tracking.ts';
import { addUp } from './commands/up.ts';
import { addVerify } from './commands/verify.ts';
import type { CommandContext } from './commands/shared.ts';

/** The `fleet` command with all its subcommands. */
export function buildProgram(context: CommandContext): Command {
  const program = new Command('fleet')
    .description('Runs the embedded stack and the fleet, imports, inspects, verifies.')
    .showHelpAfterError('(--help shows what there is)')
    .exitOverride();
  const commands = [
    ...[addUp, addDown, addStatus, addLogs, addServe],
    ...[
      addImport,
      addVerify,
      addSaga,
      addDlq,
      addRepair,
      addTracking,
      addConfig,
      addSchedule,
      addConsumer,
      addOperator,
    ],
    ...[addAuth, addMigrate, addProvision, addNatsConfig, addSecrets, addContracts, addBench],
  ];
  for (const add of commands) add(program, context);
  return program;
}
