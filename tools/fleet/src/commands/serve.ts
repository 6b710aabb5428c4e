import type { Command } from 'commander';
import { UnknownServiceError } from '../fleet.errors.ts';
import { ServedService } from '../serve.ts';
import { discoverServices } from '../services.ts';
import { runUntilSignal } from './up.ts';
import { dirOf, withData, type CommandContext, type DataOption } from './shared.ts';

/** `fleet serve` */
export function addServe(program: Command, { terminal }: CommandContext): void {
  withData(
    program
      .command('serve')
      .description(
        'run one service and follow its sources; uses NATS and Postgres of the running fleet, or starts them',
      )
      .argument('<service>', 'such as orders'),
  ).action(async (name: string, options: DataOption) => {
    const all = await discoverServices();
    const service = all.find((each) => each.name === name);
    if (service === undefined) {
      throw new UnknownServiceError(
        [name],
        all.map((each) => each.name),
      );
    }
    await runUntilSignal(
      new ServedService({ dir: dirOf(options), all, service, terminal }),
      terminal,
      () => undefined,
    );
  });
}
