import type { Command } from 'commander';
import { OPERATOR_API_SUBJECT } from '../operate/operator-api.ts';
import { OPERATOR_PATH, OPERATOR_TOKEN, OperatorTokenMissingError } from '../operate/operator-http.ts';
import { startOperator } from '../operate/operator.ts';
import { UsageError } from '../fleet.errors.ts';
import { findNats, readSetting } from '../stack/nats-access.ts';
import { dirOf, wholeNumber, withData, type CommandContext, type DataOption } from './shared.ts';

interface OperatorOptions extends DataOption {
  readonly http?: number;
  readonly host: string;
}

const SHORTEST_TOKEN = 16;

/** `fleet operator`: the operators' acts for other programs, until it is told to stop. */
export function addOperator(program: Command, { terminal }: CommandContext): void {
  withData(
    program
      .command('operator')
      .description(
        `answer other programs that ask for operators' acts, on ${OPERATOR_API_SUBJECT} ("fleet up" does so by itself)`,
      )
      .option(
        '--http <port>',
        `also over HTTP, for whoever shows the token ${OPERATOR_TOKEN}`,
        wholeNumber(0),
      )
      .option('--host <address>', 'the address that HTTP listens on', '127.0.0.1'),
  ).action(async ({ http, host, ...options }: OperatorOptions) => {
    if (http !== undefined && http > 65_535) throw new UsageError(`--http is ${http}; ports end at 65535`);
    const token = http === undefined ? undefined : readSetting(OPERATOR_TOKEN);
    if (http !== undefined && (token?.length ?? 0) < SHORTEST_TOKEN) throw new OperatorTokenMissingError();
    const operator = await startOperator(await findNats(dirOf(options)), {
      ...(http !== undefined && token !== undefined && { http: { host, port: http, token } }),
    });
    const also = operator.url === undefined ? '' : `, and to POST ${operator.url}${OPERATOR_PATH}`;
    terminal.print(`Answering on ${OPERATOR_API_SUBJECT}${also}; Ctrl-C stops.`);
    const asked = Promise.withResolvers<void>();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => asked.resolve());
    await Promise.race([asked.promise, operator.ended]);
    await operator.stop();
  });
}
