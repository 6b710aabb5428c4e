import type { Subscription } from '@nats-io/nats-core';
import type { Clock } from '@flotilla/kernel';

const PATIENCE_MS = 1_000;

/**
 * Ends a subscription after what is on its way has arrived. The server confirms that; one that is away, or
 * frozen, is not waited for.
 */
export async function drainSubscription(subscription: Subscription, clock: Clock): Promise<void> {
  if (subscription.isClosed()) return;
  const patience = new AbortController();
  const drained = subscription.drain().then(
    () => undefined,
    // The connection broke meanwhile: the server has ended the subscription, and nothing more arrives.
    () => undefined,
  );
  await Promise.race([drained, clock.sleep(PATIENCE_MS, patience.signal)]);
  patience.abort();
  if (!subscription.isClosed()) subscription.unsubscribe();
}
