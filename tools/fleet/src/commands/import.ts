import { readFile } from 'node:fs/promises';
import { InvalidArgumentError, type Command } from 'commander';
import { formatMoney } from '@flotilla/contracts-money';
import { errorCode, formatDurationMs } from '@flotilla/kernel';
import { ApiClient } from '../import/api-client.ts';
import { authenticateAs, importScopes } from '../import/authenticate.ts';
import { decodeUtf8 } from '../import/csv.ts';
import { CsvError } from '../import/import.errors.ts';
import { countByReason, planImport, type ImportPlan } from '../import/plan.ts';
import { runImport, type ImportResult } from '../import/run-import.ts';
import type { ReturnsResult } from '../import/send-returns.ts';
import { readState } from '../stack/state.ts';
import { stopwatch, type Terminal } from '../terminal.ts';
import {
  dirOf,
  duration,
  withData,
  withJson,
  wholeNumber,
  type CommandContext,
  type DataOption,
} from './shared.ts';

interface ImportOptions extends DataOption {
  readonly url?: string;
  readonly stockFactor: number;
  readonly concurrency: number;
  readonly currency: string;
  readonly paymentToken: string;
  readonly stall: number;
  readonly wait: boolean;
  readonly approveReviews?: boolean;
  readonly dryRun?: boolean;
  readonly rejects?: boolean;
  readonly json?: boolean;
}

/** `fleet import` */
export function addImport(program: Command, { terminal }: CommandContext): void {
  withJson(
    withData(
      program
        .command('import')
        .description(
          'load the products and stock of a retail CSV, place its invoices as orders and return what its cancellations ' +
            'say, through the public API; the same file again places and returns nothing new',
        )
        .argument(
          '<file>',
          'CSV in UTF-8 with the columns InvoiceNo, StockCode, Description, Quantity, UnitPrice, CustomerID, Country',
        )
        .option('--url <url>', 'the gateway (default: that of the running fleet, else http://127.0.0.1:3000)')
        .option(
          '--stock-factor <n>',
          'receive this part of what the file sells; below 1 makes stock scarce',
          readFactor,
          1,
        )
        .option('--concurrency <n>', 'requests in flight at most', wholeNumber(1), 48)
        .option('--currency <code>', 'of the prices', 'GBP')
        .option('--payment-token <token>', 'what the orders are paid with', 'tok_ok')
        .option('--stall <duration>', 'give up when no order ended for so long', duration, 120_000)
        .option('--approve-reviews', 'approve orders that await a review')
        .option('--no-wait', 'do not wait until the orders have ended, and so return nothing')
        .option('--rejects', 'list every rejected row, and every one that returns nothing')
        .option('--dry-run', 'only read the file and say what it holds'),
    ),
  ).action(async (file: string, options: ImportOptions) => {
    const took = stopwatch();
    const plan = planImport(decodeUtf8(await read(file)), options);
    if (options.rejects === true && options.json !== true) {
      for (const { line, invoice, sku, reason } of plan.rejects) {
        terminal.print(`line ${line}: ${reason} (invoice ${invoice}, code ${sku})`);
      }
      for (const { line, invoice, sku, reason } of plan.returns.rejects) {
        terminal.print(`line ${line}: returns nothing: ${reason} (invoice ${invoice}, code ${sku})`);
      }
    }
    if (options.dryRun === true) {
      terminal.print(options.json === true ? JSON.stringify(planFacts(plan), null, 2) : describePlan(plan));
      return;
    }
    terminal.note(describePlan(plan));
    const url = options.url ?? (await readState(dirOf(options)))?.gatewayUrl ?? 'http://127.0.0.1:3000';
    const api = new ApiClient({
      url,
      connections: options.concurrency,
      authenticate: authenticateAs({ scopes: importScopes }),
    });
    try {
      const result = await runImport(plan, api, {
        concurrency: options.concurrency,
        paymentToken: options.paymentToken,
        wait: options.wait,
        approveReviews: options.approveReviews === true,
        stallMs: options.stall,
        onProgress: (text) => terminal.progress(text),
      });
      const reviews = result.orders.byStatus['awaiting_review'] ?? 0;
      if (result.orders.refused.length + (result.returns?.refused.length ?? 0) + reviews > 0) {
        process.exitCode = 1;
      }
      if (options.rejects === true && options.json !== true) {
        for (const { line, invoice, sku, quantity, reason } of result.returns?.unmatched ?? []) {
          terminal.print(
            `line ${line}: ${quantity} pieces return nothing: ${reason} (invoice ${invoice}, code ${sku})`,
          );
        }
      }
      if (options.json === true)
        terminal.print(JSON.stringify({ plan: planFacts(plan), ...result }, null, 2));
      else report(plan, result, took(), terminal);
      if (reviews > 0) {
        terminal.note(
          `${reviews} orders await a person's review (POST /v1/orders/{id}/review), because nobody screened them in ` +
            'time and they are large. Run the import again with --approve-reviews to approve them.',
        );
      }
    } finally {
      api.close();
    }
  });
}

async function read(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') throw new CsvError(`There is no file ${file}`);
    if (errorCode(error) === 'EISDIR') throw new CsvError(`${file} is a directory`);
    throw error;
  }
}

function planFacts(plan: ImportPlan): object {
  return {
    fileHash: plan.fileHash,
    rows: plan.rows,
    invoices: plan.invoices,
    orders: plan.orders.length,
    orderLines: plan.orders.reduce((sum, { lines }) => sum + lines.length, 0),
    products: plan.products.length,
    pieces: plan.receipts.reduce((sum, { quantity }) => sum + quantity, 0),
    gross: formatMoney({ amountMinor: plan.grossMinor, currency: plan.currency }),
    invoicesWithoutOrder: plan.invoices - plan.orders.length,
    cancellations: {
      invoices: plan.returns.invoices,
      rows: plan.returns.rows,
      rejected: Object.fromEntries(countByReason(plan.returns.rejects)),
      rejects: plan.returns.rejects,
    },
    rejected: Object.fromEntries(countByReason(plan.rejects)),
    rejects: plan.rejects,
  };
}

function describePlan(plan: ImportPlan): string {
  const gross = formatMoney({ amountMinor: plan.grossMinor, currency: plan.currency });
  return (
    `${plan.rows} rows: ${plan.orders.length} orders of ${plan.invoices} invoices, ${plan.products.length} products, ` +
    `${gross.amount} ${gross.currency}; ${plan.rejects.length} rows rejected, ` +
    `${plan.returns.invoices} cancellations (${plan.returns.rows} rows)`
  );
}

function report(plan: ImportPlan, result: ImportResult, took: string, terminal: Terminal): void {
  const { orders, products, stock } = result;
  const statuses = entries(orders.byStatus);
  const reasons = entries(orders.byRejectionReason);
  const rejected = countByReason(plan.rejects);
  const waited = statuses.length > 0;
  const count = orders.placedNew + orders.replayed;
  terminal.print(
    [
      `invoices read     ${plan.invoices + plan.returns.invoices}: ${plan.orders.length} to order, ${plan.invoices - plan.orders.length} without a row that can be ordered, ` +
        `${plan.returns.invoices} cancellations (${plan.returns.rows} rows)`,
      `rows              ${plan.rows}, rejected ${plan.rejects.length}`,
      ...rejected.map(([reason, rows]) => `                  ${rows} ${reason}`),
      `products          ${products.written} written, ${products.unchanged} unchanged`,
      `stock receipts    ${stock.received} new, ${stock.replayed} replayed`,
      `orders placed     ${orders.placedNew} new, ${orders.replayed} replayed, ${orders.refused.length} refused`,
      ...orders.refused.slice(0, 10).map(({ invoice, detail }) => `                  ${invoice}: ${detail}`),
      ...(waited ? [`orders ended      ${statuses.join(', ')}`] : []),
      ...(reasons.length > 0 ? [`rejected because  ${reasons.join(', ')}`] : []),
      `gross placed      ${result.grossPlaced.amount} ${result.grossPlaced.currency}`,
      ...(waited ? [`captured          ${result.captured.amount} ${result.captured.currency}`] : []),
      ...reportReturns(plan, result.returns),
      `time              ${took}; placing ${speed(count, result.placingMs)}` +
        (waited ? `, until all had ended ${speed(count, result.completingMs)}` : ''),
      ...(result.retries > 0 ? [`requests repeated ${result.retries} (busy, or a service was away)`] : []),
    ].join('\n'),
  );
}

function reportReturns(plan: ImportPlan, returns: ReturnsResult | undefined): string[] {
  if (plan.returns.rows === 0) return [];
  if (!returns) return ['returns           none: they wait for the orders to end (--no-wait)'];
  const { unmatched, refused, refunded } = returns;
  const reasons = [...countByReason(plan.returns.rejects), ...countByReason(unmatched)];
  return [
    `returns           ${returns.requestedNew} new, ${returns.replayed} replayed, ${refused.length} refused` +
      (refused.length + returns.requestedNew + returns.replayed > 0
        ? `; ended: ${entries(returns.byStatus).join(', ') || 'none'}`
        : ''),
    ...refused
      .slice(0, 10)
      .map(({ invoice, order, detail }) => `                  ${invoice} of ${order}: ${detail}`),
    `rows returned     ${returns.matchedRows} with ${returns.matchedQuantity} pieces, ` +
      `not ${plan.returns.rejects.length + unmatched.length} (${returns.unmatchedQuantity} pieces unmatched)`,
    ...reasons.map(([reason, rows]) => `                  ${rows} ${reason}`),
    `refunded          ${refunded.amount} ${refunded.currency}`,
  ];
}

function entries(counts: Readonly<Record<string, number>>): string[] {
  return Object.entries(counts).map(([name, count]) => `${count} ${name}`);
}

function speed(count: number, ms: number): string {
  return `${formatDurationMs(ms)} (${Math.round(count / Math.max(0.001, ms / 1_000))} orders/s)`;
}

function readFactor(text: string): number {
  const factor = Number(text);
  if (!Number.isFinite(factor) || factor < 0 || factor > 1_000) {
    throw new InvalidArgumentError('It must be a number from 0 to 1000.');
  }
  return factor;
}
