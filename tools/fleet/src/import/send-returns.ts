import { formatMoney, parseAmountMinor, type DecimalMoney } from '@flotilla/contracts-money';
import { formatDurationMs, systemClock } from '@flotilla/kernel';
import { z } from 'zod';
import type { ApiClient } from './api-client.ts';
import { forEachBounded } from './bounded.ts';
import { ApiRefusedError, ImportStalledError } from './import.errors.ts';
import {
  matchReturns,
  type OrderOutcome,
  type ReturnRequest,
  type UnmatchedReturn,
} from './match-returns.ts';
import type { ImportPlan, PlannedOrder } from './plan.ts';

export interface SendOptions {
  readonly concurrency: number;
  /** Gives up waiting when no return ended for so long, in milliseconds. */
  readonly stallMs: number;
  readonly onProgress: (text: string) => void;
}

/** A return that the API would not take, and why. */
export interface RefusedReturn {
  readonly invoice: string;
  /** Of the order. */
  readonly order: string;
  readonly problem: string;
  readonly detail: string;
}

export interface ReturnsResult {
  readonly requestedNew: number;
  readonly replayed: number;
  readonly refused: readonly RefusedReturn[];
  /** Rows of cancellations that return something, at least in part, and how many pieces. */
  readonly matchedRows: number;
  readonly matchedQuantity: number;
  readonly unmatched: readonly UnmatchedReturn[];
  readonly unmatchedQuantity: number;
  /** How many ended in which status. */
  readonly byStatus: Readonly<Record<string, number>>;
  /** What was paid back for those that are completed. */
  readonly refunded: DecimalMoney;
}

const accepted = z.object({ returnId: z.string(), status: z.string() });
const listed = z.object({
  returns: z.array(
    z.object({
      returnId: z.string(),
      status: z.string(),
      refund: z.object({ amount: z.string(), currency: z.string() }),
    }),
  ),
});
type ListedReturn = z.output<typeof listed>['returns'][number];

const POLL_MIN_MS = 250;

/** Sends what the cancellations of a plan return through the public API, and waits until every return has ended. */
export async function sendReturns(
  plan: ImportPlan,
  outcomeOf: (order: PlannedOrder) => OrderOutcome,
  api: ApiClient,
  options: SendOptions,
): Promise<ReturnsResult> {
  const matched = matchReturns(plan.returns.lines, plan.orders, outcomeOf);
  const refused: RefusedReturn[] = [];
  /** The returns that were accepted, by order. */
  const sent = new Map<string, Set<string>>();
  let [requestedNew, replayed, done] = [0, 0, 0];
  // Those of one order one after another: which pieces each gets must not depend on who is first.
  const byOrder = Map.groupBy(matched.requests, ({ orderId }) => orderId);
  await forEachBounded(byOrder.values(), options.concurrency, async (requests) => {
    for (const request of requests) {
      const answer = await send(request, api);
      done += 1;
      options.onProgress(`Returns: ${done} of ${matched.requests.length} requested`);
      if ('problem' in answer) {
        refused.push(answer);
        continue;
      }
      if (answer.replayed) replayed += 1;
      else requestedNew += 1;
      sent.set(request.orderId, (sent.get(request.orderId) ?? new Set()).add(answer.returnId));
    }
  });
  const ended = await untilEnded(sent, api, options);
  const byStatus: Record<string, number> = {};
  for (const { status } of ended) byStatus[status] = (byStatus[status] ?? 0) + 1;
  return {
    requestedNew,
    replayed,
    refused,
    matchedRows: matched.matchedRows,
    matchedQuantity: matched.matchedQuantity,
    unmatched: matched.unmatched,
    unmatchedQuantity: matched.unmatched.reduce((sum, { quantity }) => sum + quantity, 0),
    byStatus,
    refunded: formatMoney({
      amountMinor: ended
        .filter(({ status }) => status === 'completed')
        .reduce((sum, { refund }) => sum + parseAmountMinor(refund.amount, refund.currency), 0),
      currency: plan.currency,
    }),
  };
}

async function send(
  { invoice, order, orderId, lines, key }: ReturnRequest,
  api: ApiClient,
): Promise<{ readonly returnId: string; readonly replayed: boolean } | RefusedReturn> {
  try {
    const { body, replayed } = await api.send({
      method: 'POST',
      path: `/v1/orders/${orderId}/returns`,
      body: { lines, reason: `Cancellation ${invoice}`.slice(0, 200) },
      idempotencyKey: key,
    });
    return { returnId: accepted.parse(body).returnId, replayed };
  } catch (error) {
    if (!(error instanceof ApiRefusedError) || error.status === 401 || error.status === 403) throw error;
    return { invoice, order: order.invoice, problem: error.problem, detail: error.message };
  }
}

/** Reads the orders that have returns under way until none has. */
async function untilEnded(
  sent: ReadonlyMap<string, ReadonlySet<string>>,
  api: ApiClient,
  { stallMs, concurrency, onProgress }: SendOptions,
): Promise<ListedReturn[]> {
  const ended = new Map<string, ListedReturn>();
  const open = new Map(sent);
  const total = [...sent.values()].reduce((sum, { size }) => sum + size, 0);
  const startMs = systemClock.monotonicMs();
  let lastChangeMs = startMs;
  while (open.size > 0) {
    const roundMs = systemClock.monotonicMs();
    const before = ended.size;
    await forEachBounded([...open], concurrency, async ([orderId, returnIds]) => {
      const { body } = await api.send({ method: 'GET', path: `/v1/orders/${orderId}/returns` });
      for (const each of listed.parse(body).returns) {
        if (returnIds.has(each.returnId) && isFinal(each.status)) ended.set(each.returnId, each);
      }
      if ([...returnIds].every((returnId) => ended.has(returnId))) open.delete(orderId);
    });
    if (open.size === 0) break;
    const now = systemClock.monotonicMs();
    if (ended.size > before) lastChangeMs = now;
    onProgress(`Returns: ${ended.size} of ${total} have ended (${formatDurationMs(now - startMs)})`);
    if (now - lastChangeMs > stallMs) {
      const waiting = [...open.values()]
        .flatMap((returnIds) => [...returnIds])
        .filter((returnId) => !ended.has(returnId));
      throw new ImportStalledError(waiting.length, now - lastChangeMs, waiting.slice(0, 3), 'returns');
    }
    // Reading costs the machine something too: it may take a fifth of the time at most.
    await systemClock.sleep(Math.max(POLL_MIN_MS, (now - roundMs) * 4));
  }
  return [...ended.values()];
}

function isFinal(status: string): boolean {
  return status === 'completed' || status === 'expired' || status === 'cancelled';
}
