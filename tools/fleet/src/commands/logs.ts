import { existsSync, readdirSync } from 'node:fs';
import { open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '@flotilla/kernel';
import { UsageError } from '../fleet.errors.ts';
import { condense, parseLogLine, type LogLine } from '../supervise/log-line.ts';
import type { Terminal } from '../terminal.ts';
import { dirOf, withData, withJson, wholeNumber, type CommandContext, type DataOption } from './shared.ts';

interface LogsOptions extends DataOption {
  readonly trace?: string;
  readonly follow?: boolean;
  readonly lines: number;
  readonly json?: boolean;
}

interface Entry {
  readonly source: string;
  readonly raw: string;
  readonly line: LogLine | undefined;
  /** For sorting: lines that say no time belong to the one before. */
  readonly at: number;
}

/** Fields of a log line by which it is found. */
const idFields = ['trace_id', 'correlationId', 'messageId', 'orderId', 'span_id'] as const;
const FOLLOW_EVERY_MS = 250;

/** `fleet logs` */
export function addLogs(program: Command, { terminal }: CommandContext): void {
  withJson(
    withData(
      program
        .command('logs')
        .description('show the logs of the services, merged by time')
        .argument('[service]', 'one service, one of its processes (orders-2), nats or postgres')
        .option('--trace <id>', 'only lines of one trace, correlation, message or order, from all services')
        .option('--follow', 'go on with what comes')
        .option('--lines <n>', 'the last n lines', wholeNumber(0), 100),
    ),
  ).action(async (service: string | undefined, options: LogsOptions) => {
    const { logs } = dirOf(options);
    const sources = sourcesIn(logs, service);
    const matches = (entry: Entry): boolean => options.trace === undefined || concerns(entry, options.trace);
    const offsets = new Map<string, number>();
    const entries: Entry[] = [];
    for (const source of sources) {
      for (const file of [3, 2, 1]
        .map((number) => join(logs, `${source}.log.${number}`))
        .filter(existsSync)) {
        entries.push(...entriesOf(source, await readFile(file, 'utf8')));
      }
      const text = await readFile(join(logs, `${source}.log`));
      offsets.set(source, text.length);
      entries.push(...entriesOf(source, text.toString('utf8')));
    }
    const found = entries.filter(matches).sort((a, b) => a.at - b.at);
    const shown =
      options.trace === undefined ? found.slice(Math.max(0, found.length - options.lines)) : found;
    for (const entry of shown) show(entry, terminal, options);
    if (options.follow !== true) {
      if (shown.length === 0 && options.trace !== undefined) {
        throw new UsageError(`No line of ${sources.join(', ')} has the id ${options.trace}`);
      }
      return;
    }
    await follow(logs, offsets, (entry) => {
      if (matches(entry)) show(entry, terminal, options);
    });
  });
}

/** The logs to read. Throws {@link UsageError} with those that there are. */
function sourcesIn(logs: string, service: string | undefined): string[] {
  const all = existsSync(logs)
    ? readdirSync(logs)
        .filter((name) => name.endsWith('.log'))
        .map((name) => name.slice(0, -'.log'.length))
        .sort()
    : [];
  if (all.length === 0) throw new UsageError(`There are no logs in ${logs}: start the fleet with "fleet up"`);
  if (service === undefined) return all.filter((name) => name !== 'nats' && name !== 'postgres');
  const chosen = all.filter((name) => name === service || name.replace(/-\d+$/, '') === service);
  if (chosen.length === 0)
    throw new UsageError(`There is no log of ${service}; there are: ${all.join(', ')}`);
  return chosen;
}

function entriesOf(source: string, text: string): Entry[] {
  let at = 0;
  return text
    .split('\n')
    .filter((raw) => raw !== '')
    .map((raw) => {
      const line = parseLogLine(raw);
      at = line?.at ?? at;
      return { source, raw, line, at };
    });
}

function concerns({ line, raw }: Entry, id: string): boolean {
  if (line === undefined) return raw.includes(id);
  return idFields.some((field) => line.fields[field] === id);
}

function show({ source, raw, line, at }: Entry, terminal: Terminal, { json }: LogsOptions): void {
  if (json === true) {
    terminal.print(raw);
    return;
  }
  const time = line === undefined || at === 0 ? ''.padEnd(12) : new Date(at).toISOString().slice(11, 23);
  terminal.print(`${time} ${source.padEnd(14)} ${line === undefined ? raw : condense(line)}`);
}

/** Reports what is appended, until the process is interrupted. */
async function follow(
  logs: string,
  offsets: Map<string, number>,
  onEntry: (entry: Entry) => void,
): Promise<void> {
  const rests = new Map<string, string>();
  for (;;) {
    for (const [source, offset] of offsets) {
      const file = join(logs, `${source}.log`);
      if (!existsSync(file)) continue; // between the two renames of a rotation
      const { size } = await stat(file);
      if (size === offset) continue;
      // Smaller: it was rotated, and what is there now is all new.
      const from = size < offset ? 0 : offset;
      const handle = await open(file, 'r');
      try {
        const { buffer, bytesRead } = await handle.read(Buffer.alloc(size - from), 0, size - from, from);
        const text = (rests.get(source) ?? '') + buffer.toString('utf8', 0, bytesRead);
        const end = text.lastIndexOf('\n') + 1;
        rests.set(source, text.slice(end));
        offsets.set(source, from + bytesRead);
        for (const entry of entriesOf(source, text.slice(0, end))) onEntry(entry);
      } finally {
        await handle.close();
      }
    }
    await systemClock.sleep(FOLLOW_EVERY_MS);
  }
}
