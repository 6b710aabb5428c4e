import { formatDurationMs } from '@flotilla/kernel';
import type { OutboxStats } from '@flotilla/persistence';
import type { DueTimer } from '@flotilla/saga';

/** Throws when committed messages have waited for longer than `afterMs` to be published. */
export function assertPublishing(stats: OutboxStats, afterMs: number): void {
  const { oldestUnpublishedAgeMs, unpublished, refused } = stats;
  if (oldestUnpublishedAgeMs <= afterMs) return;
  const why =
    refused > 0
      ? `; ${refused} of them as they are will never be taken: see the column error of the table outbox`
      : '; see PUBLISH_REFUSED and the broker in the log';
  throw new Error(
    `${unpublished} message(s) are committed and not published, the oldest for ${formatDurationMs(oldestUnpublishedAgeMs)}${why}`,
  );
}

/** Throws when the timer that is due first has been due for longer than `afterMs`. */
export function assertFiring(oldest: DueTimer | undefined, now: number, afterMs: number): void {
  if (oldest === undefined || now - oldest.dueAt <= afterMs) return;
  throw new Error(
    `the timer of saga ${oldest.saga} of ${oldest.id} has been due for ${formatDurationMs(now - oldest.dueAt)}: ` +
      'timers wait while answers cannot arrive, and are tried again when they fail; see "A timer" in the log',
  );
}
