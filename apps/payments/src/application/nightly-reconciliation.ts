import { UnitOfWork } from '@flotilla/persistence';
import { OutsideUnitOfWork, Schedule, type ScheduledRun, type ScheduledTask } from '@flotilla/service';
import { Logger } from '@nestjs/common';
import { authorisationKey } from '../domain/payment.ts';
import { differenceOf, type OurRecord } from '../domain/reconciliation.ts';
import { BookDifferences, type BookDifference } from '../persistence/book-differences.ts';
import { ProviderStatement, type StatementLine } from '../provider/provider-statement.ts';

const PAGE = 500;
/** More are a broken book and no list of exceptions: the first of them are enough to see that. */
const MOST_DIFFERENCES = 1_000;

/**
 * Compares our books with the provider's, both ways, and writes down where they differ; money is never moved here. The
 * two are read at different moments, so what seems to differ is looked at again before it is said.
 */
@Schedule('nightly-reconciliation')
@OutsideUnitOfWork()
export class NightlyReconciliation implements ScheduledTask {
  readonly #logger = new Logger(NightlyReconciliation.name);

  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly books: BookDifferences,
    private readonly statement: ProviderStatement,
  ) {}

  async run({ tick, signal }: ScheduledRun): Promise<void> {
    const suspects = new Set<string>();
    const compared = await this.#compareTheirs(suspects, signal);
    await this.#findMissing(suspects, signal);
    const differences = await this.#confirm([...suspects].slice(0, MOST_DIFFERENCES), signal);
    const { resolved } = await this.unitOfWork.run(() => this.books.note(differences, tick));
    for (const { orderId, kind, ours, theirs } of differences) {
      this.#logger.error({
        msg: `The books differ about order ${orderId}: ${kind}`,
        orderId,
        kind,
        ours,
        theirs,
      });
    }
    this.#logger.log(
      `Compared ${compared} authorisations with the provider's books: ${differences.length} differ, ${resolved.length} no longer do` +
        (suspects.size > MOST_DIFFERENCES
          ? `; ${suspects.size} seem to differ, the rest was not looked at`
          : ''),
    );
  }

  /** What the provider has, and we have otherwise or not at all. */
  async #compareTheirs(suspects: Set<string>, signal: AbortSignal): Promise<number> {
    let compared = 0;
    let after: string | undefined;
    for (;;) {
      signal.throwIfAborted();
      const lines = await this.statement.page(after, PAGE, signal);
      after = lines.at(-1)?.key;
      if (after === undefined) return compared;
      const ours = await this.books.ours(lines.map(orderOf));
      for (const line of lines) {
        if (differenceOf(ours.get(orderOf(line)), line) !== undefined) suspects.add(orderOf(line));
      }
      compared += lines.length;
    }
  }

  /** What we have, and the provider has not. */
  async #findMissing(suspects: Set<string>, signal: AbortSignal): Promise<void> {
    let after: string | undefined;
    for (;;) {
      signal.throwIfAborted();
      const ours = await this.books.page(after, PAGE);
      const orderIds = [...ours.keys()];
      after = orderIds.at(-1);
      if (after === undefined) return;
      const lines = await this.statement.lines(orderIds.map(authorisationKey), signal);
      const known = new Set(lines.map(orderOf));
      for (const orderId of orderIds) if (!known.has(orderId)) suspects.add(orderId);
    }
  }

  async #confirm(orderIds: readonly string[], signal: AbortSignal): Promise<BookDifference[]> {
    const differences: BookDifference[] = [];
    for (let from = 0; from < orderIds.length; from += PAGE) {
      const some = orderIds.slice(from, from + PAGE);
      const ours: Map<string, OurRecord> = await this.books.ours(some);
      const lines = await this.statement.lines(some.map(authorisationKey), signal);
      const theirs = new Map(lines.map((line) => [orderOf(line), line]));
      for (const orderId of some) {
        const kind = differenceOf(ours.get(orderId), theirs.get(orderId));
        if (kind !== undefined)
          differences.push({ orderId, kind, ours: ours.get(orderId), theirs: theirs.get(orderId) });
      }
    }
    return differences;
  }
}

/** The order of an authorisation is in its key; see `authorisationKey`. */
function orderOf({ key }: StatementLine): string {
  return key.slice(0, key.indexOf(':'));
}
