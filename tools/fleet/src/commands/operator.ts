import type { Command } from 'commander';
import { connectNats } from '@flotilla/messaging';
import { contractsByType } from '../contracts/fleet-contracts.ts';
import { OPERATOR_API_SUBJECT, OperatorApi } from '../operate/operator-api.ts';
import { discoverServices } from '../services.ts';
import { findNats } from '../stack/nats-access.ts';
import { dirOf, withData, type CommandContext, type DataOption } from './shared.ts';

/** `fleet operator`: the operators' acts for other programs, until it is told to stop. */
export function addOperator(program: Command, { terminal }: CommandContext): void {
  withData(
    program
      .command('operator')
      .description(`answer other programs that ask for operators' acts, on ${OPERATOR_API_SUBJECT}`),
  ).action(async (options: DataOption) => {
    const connection = await connectNats({
      ...(await findNats(dirOf(options))),
      name: 'fleet operator',
    });
    const contracts = discoverServices().then(contractsByType);
    const api = new OperatorApi(connection, () => contracts);
    await api.start();
    terminal.print(`Answering on ${OPERATOR_API_SUBJECT}; Ctrl-C stops.`);
    const asked = Promise.withResolvers<void>();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => asked.resolve());
    await Promise.race([asked.promise, connection.closed()]);
    await api.stop();
    await connection.close();
  });
}
