import { JetStreamApiError } from '@nats-io/jetstream';
import { systemClock, type Clock } from '@flotilla/kernel';
import { TooFewServersError } from '../messaging.errors.ts';

/** `JSClusterNoPeersErrF`: https://github.com/nats-io/nats-server/blob/main/server/errors.json */
const NO_SUITABLE_PEERS = 10_005;
const ASK_AGAIN_MS = 250;

export interface ServerWait {
  readonly stream: string;
  readonly copies: number;
  /** Until when it is waited, by the monotonic clock. */
  readonly untilMs: number;
  readonly clock?: Clock;
}

/**
 * Makes a stream as soon as its cluster sees enough of its servers to place the copies: one that has just started sees
 * them one after another. Throws `TooFewServersError` when it is too late.
 */
export async function onceServersAreThere(
  { stream, copies, untilMs, clock = systemClock }: ServerWait,
  make: () => Promise<unknown>,
): Promise<void> {
  for (;;) {
    try {
      await make();
      return;
    } catch (error) {
      if (!(error instanceof JetStreamApiError) || error.code !== NO_SUITABLE_PEERS) throw error;
      if (clock.monotonicMs() >= untilMs) throw new TooFewServersError(stream, copies, error);
      await clock.sleep(ASK_AGAIN_MS);
    }
  }
}
