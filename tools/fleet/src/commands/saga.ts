import { InvalidArgumentError, Option, type Command } from 'commander';
import { formatDurationMs, systemClock } from '@flotilla/kernel';
import { connectNats } from '@flotilla/messaging';
import {
  parseSagaKey,
  sagaDiagram,
  sagaKey,
  type SagaFilter,
  type SagaInstance,
  type SagaRef,
} from '@flotilla/saga';
import { UsageError } from '../fleet.errors.ts';
import { OperationFailedError, withOperator, type AskOwner, type SagaOrder } from '../operate/ask-owner.ts';
import { maskSecrets } from '../operate/mask-secrets.ts';
import {
  findSaga,
  listSagas,
  withSagaOwners,
  type OwnedSaga,
  type SagaOwner,
} from '../operate/saga-owners.ts';
import { WhySaga, type SagaWhy } from '../operate/saga-why.ts';
import { discoverServices } from '../services.ts';
import type { DataDir } from '../stack/data-dir.ts';
import { describeSaga, sentenceFor } from '../sagas/describe-saga.ts';
import { declaredSagas, type DeclaredSaga } from '../sagas/saga-definitions.ts';
import { checkDiagrams } from '../sagas/saga-diagrams.ts';
import { findNats } from '../stack/nats-access.ts';
import { discreet, table } from '../terminal.ts';
import {
  dirOf,
  duration,
  withData,
  withJson,
  wholeNumber,
  type CommandContext,
  type DataOption,
} from './shared.ts';

interface ListOptions extends DataOption {
  readonly status: Exclude<SagaFilter['status'], undefined> | 'all';
  readonly parked?: boolean;
  readonly saga?: string;
  readonly step?: string;
  readonly olderThan?: number;
  readonly limit: number;
  readonly after?: SagaRef;
  readonly json?: boolean;
}

interface OneOptions extends DataOption {
  readonly saga?: string;
  readonly reason?: string;
  readonly json?: boolean;
}

interface OrderOptions extends OneOptions {
  readonly step?: string;
  readonly allParked?: boolean;
  readonly yes?: boolean;
}

interface DiagramOptions {
  readonly write?: boolean;
  readonly check?: boolean;
  readonly json?: boolean;
}

type Action = SagaOrder['action'];

const statuses = ['open', 'running', 'compensating', 'parked', 'completed', 'compensated', 'all'];

/** Answers of the engine that mean it was done. */
const done: ReadonlySet<string> = new Set(['accepted', 'resumed']);

/** How many services' answers are waited for at a time: what one service takes at once. */
const AT_ONCE = 4;

/** `fleet saga` */
export function addSaga(program: Command, context: CommandContext): void {
  const terminal = discreet(context.terminal);
  const saga = program
    .command('saga')
    .description('look at sagas, help those that wait for a person, and draw them');

  withJson(
    withData(
      saga
        .command('list')
        .description('the sagas that have not ended, the latest first, and what each waits for')
        .addOption(
          new Option('--status <status>', 'only those in this status').choices(statuses).default('open'),
        )
        .option('--parked', 'only those that wait for a person: short for --status parked')
        .option('--saga <name>', 'only those of this saga')
        .option('--step <name>', 'only those at this step')
        .option(
          '--older-than <time>',
          'only those to which nothing has happened for so long: 30s, 5m, 2h',
          duration,
        )
        .option('--limit <n>', 'at most so many', wholeNumber(1), 50)
        .option('--after <saga:id>', 'the page behind this one: the last of the page before', readRef),
    ),
  ).action(async ({ status, parked, saga: name, step, olderThan, limit, after, ...options }: ListOptions) => {
    const filter: SagaFilter = {
      // One more tells whether there is another page.
      limit: limit + 1,
      ...(parked === true ? { status: 'parked' } : status !== 'all' && { status }),
      ...(name !== undefined && { saga: name }),
      ...(step !== undefined && { step }),
      ...(olderThan !== undefined && { unchangedSince: systemClock.now() - olderThan }),
      ...(after !== undefined && { after }),
    };
    const [found, sagas] = await Promise.all([
      withSagaOwners(dirOf(options), (owners) => listSagas(owners, filter)),
      sagasAtHand(),
    ]);
    const page = found.slice(0, limit);
    const last = page.at(-1);
    const next = found.length > limit && last !== undefined ? sagaKey(last.instance) : undefined;
    if (options.json === true) {
      const facts = {
        sagas: page.map((each) => summaryOf(each, sagas)),
        ...(next !== undefined && { next }),
      };
      terminal.print(JSON.stringify(facts, null, 2));
      return;
    }
    if (page.length === 0) {
      const filtered = step ?? name ?? olderThan ?? after;
      if (filtered !== undefined) terminal.print('No saga is like that.');
      else if (parked === true || status === 'parked') terminal.print('No saga waits for a person.');
      else terminal.print(status === 'open' ? 'No saga is under way.' : 'No saga is in that status.');
      return;
    }
    terminal.print(
      table(
        ['service', 'saga', 'id', 'status', 'step', 'since', 'waits for'],
        page.map(({ service, instance }) => [
          service,
          `${instance.saga} v${instance.version}`,
          instance.id,
          instance.status,
          instance.step ?? '',
          `${formatDurationMs(systemClock.now() - instance.updatedAt)} ago`,
          sentenceFor(instance, sagas),
        ]),
      ),
    );
    if (next !== undefined) terminal.note(`More: --after ${next}`);
  });

  withOne(saga.command('show').description('one saga: where it is, its data and its history'), '<id>').action(
    async (id: string, options: OneOptions) => {
      const sagas = await sagasAtHand();
      const dir = dirOf(options);
      const { service, instance, history, why } = await withSagaOwners(dir, async (owners) => {
        const found = await findSaga(owners, id, options.saga);
        const { saga: name } = found.instance;
        // What the database says is shown although the broker is away.
        const reasons = await whyOf(dir, found.owner, found.instance, sagas).catch(() => undefined);
        return { ...found, why: reasons, history: await found.owner.store.history({ saga: name, id }) };
      });
      if (options.json === true) {
        const summary = { ...summaryOf({ service, instance }, sagas), ...why };
        terminal.print(JSON.stringify({ ...summary, data: maskSecrets(instance.data), history }, null, 2));
        return;
      }
      terminal.print(describeSaga({ service, instance }, history, sagas, why?.waitingFor));
    },
  );

  withOne(
    saga
      .command('why')
      .description('why a saga waits, in one sentence from facts: its command, who must answer, its timer'),
    '<id>',
  ).action(async (id: string, options: OneOptions) => {
    const sagas = await sagasAtHand();
    const dir = dirOf(options);
    const why = await withSagaOwners(dir, async (owners) => {
      const { owner, instance } = await findSaga(owners, id, options.saga);
      return whyOf(dir, owner, instance, sagas);
    });
    terminal.print(options.json === true ? JSON.stringify(why, null, 2) : why.waitingFor);
  });

  withMany(
    saga
      .command('retry')
      .description('have a parked saga try its step again')
      .option('--reason <text>', 'why; it is kept in the history', 'by an operator'),
  ).action((id: string | undefined, options: OrderOptions) => order('retry', id, options));

  withMany(
    saga
      .command('abort')
      .description('give a saga up: what was done is undone')
      .requiredOption('--reason <text>', 'why; it is kept in the history'),
  ).action((id: string | undefined, options: OrderOptions) => order('abort', id, options));

  withJson(
    saga
      .command('diagram')
      .description('the sagas as Mermaid flowcharts, from their definitions')
      .argument('[names...]', 'such as fulfilment; all without')
      .option(
        '--write',
        'bring the documents up to date: what is between <!-- saga:NAME --> and <!-- /saga:NAME -->',
      )
      .option('--check', 'fail if a document is not up to date'),
  ).action(async (names: readonly string[], { write, check, json }: DiagramOptions) => {
    const sagas = await declaredSagas();
    if (write !== true && check !== true) return draw(named(sagas, names), json === true);
    if (write === true && check === true) throw new UsageError('Give --write or --check, not both.');
    if (names.length > 0)
      throw new UsageError('--write and --check are about all documents: leave the names out.');
    const findings = checkDiagrams(sagas, { write: write === true });
    if (findings.problems.length > 0 || (check === true && findings.stale.length > 0)) process.exitCode = 1;
    if (json === true) return terminal.print(JSON.stringify(findings, null, 2));
    for (const problem of findings.problems) terminal.print(`problem  ${problem}`);
    for (const file of findings.stale) terminal.print(`${write === true ? 'written' : 'stale  '}  ${file}`);
    for (const name of findings.undrawn) terminal.print(`remark   no document draws saga ${name}`);
    if (check === true && findings.stale.length > 0)
      terminal.note('Run: npm run fleet -- saga diagram --write');
    else
      terminal.print(
        `${sagas.length} sagas, ${findings.stale.length} documents ${write === true ? 'written' : 'stale'}`,
      );
  });

  function draw(sagas: readonly DeclaredSaga[], json: boolean): void {
    const drawn = sagas.map((each) => ({
      saga: each.name,
      version: each.version,
      mermaid: sagaDiagram(each),
    }));
    if (json) terminal.print(JSON.stringify(drawn, null, 2));
    else terminal.print(drawn.map(({ mermaid }) => mermaid).join('\n'));
  }

  async function order(action: Action, id: string | undefined, options: OrderOptions): Promise<void> {
    if ((id === undefined) === (options.allParked !== true)) {
      throw new UsageError(`Say which saga: fleet saga ${action} <id>, or --all-parked.`);
    }
    const dir = dirOf(options);
    const found = await withSagaOwners(dir, async (owners) =>
      id === undefined ? allParked(owners, options) : [await findSaga(owners, id, options.saga)],
    );
    if (id === undefined && options.yes !== true) {
      for (const { service, instance } of found) {
        const { saga: name, id: each, step, direction, parked } = instance;
        const back = direction === 'compensation' ? 'undoing ' : '';
        terminal.print(`${name} of ${each} (${service}), at ${back}${step ?? ''}: ${parked?.code ?? ''}`);
      }
      if (found.length === 0) terminal.print('No saga waits for a person.');
      else {
        process.exitCode = 1;
        terminal.note(`Nothing was done. To ${action} these ${found.length}: the same with --yes`);
      }
      return;
    }
    const results = await withOperator(await findNats(dir), (ask) =>
      askAll(ask, action, found, options.reason),
    );
    // The engine says why it did not do what was asked.
    if (results.some(({ outcome }) => !done.has(outcome))) process.exitCode = 1;
    if (options.json === true) {
      terminal.print(JSON.stringify(id === undefined ? results : results[0]?.answer, null, 2));
      return;
    }
    for (const { instance, outcome, detail } of results) {
      terminal.print(`${action} of ${instance.saga} of ${instance.id}: ${outcome}${detail}`);
    }
    if (id === undefined) {
      const count = results.filter(({ outcome }) => done.has(outcome)).length;
      terminal.print(`${count} of ${results.length} done`);
    }
  }
}

async function whyOf(
  dir: DataDir,
  owner: SagaOwner,
  instance: SagaInstance,
  sagas: readonly DeclaredSaga[],
): Promise<SagaWhy> {
  const [access, services] = await Promise.all([findNats(dir), discoverServices()]);
  const connection = await connectNats({ ...access, name: 'fleet saga', connectTimeoutMs: 3_000 });
  try {
    return await new WhySaga(connection, services).explain(owner, instance, sagas);
  } finally {
    await connection.close();
  }
}

interface OrderResult extends OwnedSaga {
  readonly outcome: string;
  readonly detail: string;
  readonly answer: unknown;
}

/** Asks for each, a few at a time; of many, one that cannot be asked does not stop the others. */
async function askAll(
  ask: AskOwner,
  action: Action,
  found: readonly OwnedSaga[],
  reason: string | undefined,
): Promise<OrderResult[]> {
  const results: OrderResult[] = [];
  const askOne = async (each: OwnedSaga): Promise<OrderResult> => {
    const { saga, id } = each.instance;
    try {
      const answer = await ask(each.service, { action, saga, id, ...(reason !== undefined && { reason }) });
      return { ...each, outcome: outcomeOf(answer), detail: detailOf(answer), answer };
    } catch (error) {
      if (found.length === 1 || !(error instanceof OperationFailedError)) throw error;
      const answer = { outcome: 'failed', why: error.message };
      return { ...each, outcome: 'failed', detail: ` (${error.message})`, answer };
    }
  };
  for (let from = 0; from < found.length; from += AT_ONCE) {
    results.push(...(await Promise.all(found.slice(from, from + AT_ONCE).map(askOne))));
  }
  return results;
}

const PAGE = 500;

async function allParked(owners: readonly SagaOwner[], options: OrderOptions): Promise<OwnedSaga[]> {
  const all: OwnedSaga[] = [];
  for (let after: SagaRef | undefined, more = true; more; after = all.at(-1)?.instance) {
    const page = await listSagas(owners, {
      status: 'parked',
      limit: PAGE,
      ...(options.saga !== undefined && { saga: options.saga }),
      ...(options.step !== undefined && { step: options.step }),
      ...(after !== undefined && { after: { saga: after.saga, id: after.id } }),
    });
    all.push(...page);
    more = page.length === PAGE;
  }
  return all;
}

/** The declarations, to say more exactly what an instance waits for; none where they cannot be loaded. */
async function sagasAtHand(): Promise<readonly DeclaredSaga[]> {
  return declaredSagas().catch(() => []);
}

function named(sagas: readonly DeclaredSaga[], names: readonly string[]): readonly DeclaredSaga[] {
  const known = [...new Set(sagas.map(({ name }) => name))];
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) {
    throw new UsageError(`There is no saga ${unknown.join(', ')}. There are: ${known.join(', ')}.`);
  }
  return names.length === 0 ? sagas : sagas.filter(({ name }) => names.includes(name));
}

function readRef(text: string): SagaRef {
  const ref = parseSagaKey(text);
  if (ref === undefined)
    throw new InvalidArgumentError('Write the name of the saga and the id: fulfilment:4711.');
  return ref;
}

function withOne(command: Command, id: '<id>' | '[id]'): Command {
  return withJson(
    withData(
      command
        .argument(id, 'the id of the business object, for example of the order')
        .option('--saga <name>', 'the name of the saga, where an object has several'),
    ),
  );
}

function withMany(command: Command): Command {
  return withOne(
    command
      .option('--all-parked', 'all that wait for a person, instead of one; --saga and --step narrow it')
      .option('--step <name>', 'with --all-parked: only those at this step')
      .option('--yes', 'with --all-parked: do it; without, they are only shown'),
    '[id]',
  );
}

function summaryOf({ service, instance }: OwnedSaga, sagas: readonly DeclaredSaga[]): object {
  const { data: _data, buffer: _buffer, ...rest } = instance;
  return { service, ...rest, waitingFor: sentenceFor(instance, sagas) };
}

function outcomeOf(answer: unknown): string {
  return typeof answer === 'object' && answer !== null && 'outcome' in answer
    ? String(answer.outcome)
    : 'no outcome';
}

function detailOf(answer: unknown): string {
  if (typeof answer !== 'object' || answer === null) return '';
  const rest = Object.entries(answer).filter(([name]) => name !== 'outcome');
  return rest.length === 0
    ? ''
    : ` (${rest.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(', ')})`;
}
