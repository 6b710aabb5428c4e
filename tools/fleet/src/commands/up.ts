import { InvalidArgumentError, type Command } from 'commander';
import { Fleet, HUNG_AFTER_MS } from '../fleet.ts';
import { UsageError } from '../fleet.errors.ts';
import { OPERATOR_PATH } from '../operate/operator-http.ts';
import { discoverServices, selectServices } from '../services.ts';
import type { DataDir } from '../stack/data-dir.ts';
import { stopwatch, type Terminal } from '../terminal.ts';
import { upDetached } from './up-detached.ts';
import { dirOf, duration, names, withData, type CommandContext, type DataOption } from './shared.ts';

interface UpOptions extends DataOption {
  readonly detach?: boolean;
  readonly only?: readonly string[];
  readonly scale?: ReadonlyMap<string, number>;
  readonly fresh?: boolean;
  readonly operator: boolean;
  readonly hungAfter: number;
}

const LEAST_HUNG_AFTER_MS = 1_000;

/** `fleet up` */
export function addUp(program: Command, { terminal }: CommandContext): void {
  withData(
    program
      .command('up')
      .description('start NATS, Postgres and the services; Ctrl-C stops all of them')
      .option('--detach', 'return when everything is ready; "fleet down" stops it')
      .option('--only <services>', 'run these services only, for example orders,gateway', names)
      .option(
        '--scale <service=n>',
        'run n processes of a service, for example orders=2 (repeatable)',
        readScale,
      )
      .option('--no-operator', "do not answer programs that ask for operators' acts on dead letters")
      .option(
        '--hung-after <duration>',
        'kill and start again a service that answers nothing for so long, for example 1m; 0s: never',
        duration,
        HUNG_AFTER_MS,
      )
      .option('--fresh', 'delete all data first'),
  ).action(async (options: UpOptions) => {
    if (options.detach === true) return upDetached(dirOf(options), terminal);
    return up(options, terminal);
  });
}

async function up(options: UpOptions, terminal: Terminal): Promise<void> {
  const took = stopwatch();
  const dir = dirOf(options);
  const all = await discoverServices();
  const services = selectServices(all, options.only);
  for (const service of options.scale?.keys() ?? []) {
    if (!services.some(({ name }) => name === service)) {
      throw new UsageError(`--scale names ${service}, which is not among the services to run`);
    }
  }
  if (options.hungAfter > 0 && options.hungAfter < LEAST_HUNG_AFTER_MS)
    throw new UsageError(
      '--hung-after is 0s, for never, or at least 1s: a busy process may pause for a moment',
    );
  terminal.note(`Starting ${services.length} services; data in ${dir.path}`);
  const fleet = new Fleet({
    dir,
    all,
    services,
    terminal,
    operator: options.operator,
    hungAfterMs: options.hungAfter,
    ...(options.scale && { scale: options.scale }),
    ...(options.fresh !== undefined && { fresh: options.fresh }),
  });
  await runUntilSignal(fleet, terminal, () => announce(fleet, dir, took(), terminal));
}

/** Runs until SIGINT, SIGTERM or SIGHUP, then stops in order; a second signal stops at once. */
export async function runUntilSignal(
  fleet: Pick<Fleet, 'start' | 'stop' | 'force'>,
  terminal: Terminal,
  onReady: () => void,
): Promise<void> {
  const asked = Promise.withResolvers<void>();
  let signals = 0;
  const onSignal = (): void => {
    signals += 1;
    if (signals === 1) {
      terminal.note('Stopping; once more to stop at once');
      asked.resolve();
    } else if (signals === 2) {
      fleet.force();
    } else {
      process.exit(130);
    }
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);
  const started = fleet.start();
  const outcome = await Promise.race([
    started.then(() => 'ready' as const),
    asked.promise.then(() => 'asked' as const),
  ]);
  if (outcome === 'ready') {
    onReady();
    process.send?.({ ready: true });
    await asked.promise;
  }
  await fleet.stop();
  if (outcome === 'asked') await started.catch(() => undefined); // it failed because it was stopped
  terminal.note('Stopped');
  // Connections kept for the next health probe would hold the process for some seconds more.
  process.exit(process.exitCode ?? 0);
}

function announce(fleet: Fleet, dir: DataDir, took: string, terminal: Terminal): void {
  const lines = fleet.processes.map(({ name, url }) => `  ${name.padEnd(16)} ${url}`);
  const gateway = fleet.processes.find(({ name }) => name === 'gateway');
  terminal.print(
    [
      `Ready in ${took}.`,
      ...lines,
      ...(gateway ? [`The API is at ${gateway.url}/v1, its documentation at ${gateway.url}/docs.`] : []),
      ...(fleet.operatorUrl === undefined
        ? []
        : [
            `Dead letters: curl -H @${dir.operatorHeaderFile} ${fleet.operatorUrl}${OPERATOR_PATH} -d '{"act":"groups","by":"me"}'`,
          ]),
      `Logs are in ${dir.logs}; "npm run fleet -- status" shows more. Ctrl-C stops the fleet.`,
    ].join('\n'),
  );
}

function readScale(text: string, before: ReadonlyMap<string, number> | undefined): Map<string, number> {
  const scale = new Map(before);
  for (const part of names(text)) {
    const match = /^([a-z][a-z0-9-]*)=([1-9]\d?)$/.exec(part);
    if (match?.[1] === undefined)
      throw new InvalidArgumentError('Write it as service=number, for example orders=2.');
    scale.set(match[1], Number(match[2]));
  }
  return scale;
}
