import type { StreamState } from '@flotilla/messaging';
import type { Difference } from './shadow.ts';

/**
 * `reading`: history goes into the shadow; `comparing`; `swapping`: what has come since, then the swap. Then it has
 * ended: `swapped`; `compared` (a dry run); `mismatch` and `incomplete`, whose shadow is kept for a look and may still
 * be accepted; `aborted`.
 */
export type RebuildStatus =
  'reading' | 'comparing' | 'swapping' | 'swapped' | 'compared' | 'mismatch' | 'incomplete' | 'aborted';

export const ACTIVE: readonly RebuildStatus[] = ['reading', 'comparing', 'swapping'];

export interface RebuildOptions {
  /** Compares, and swaps nothing. */
  readonly dryRun: boolean;
  /** `changes`: rows may differ or be new, but none may be missing. `all`: whatever differs. */
  readonly accept: 'none' | 'changes' | 'all';
  /** What no longer has its history is taken over from the live view as it is. */
  readonly keepOld: boolean;
}

/** How far the events of one owner are read. */
export interface Cursor {
  /** The stream as it was when it was read from its beginning; the owner is asked for what it lacks. */
  readonly stream: StreamState | undefined;
  /** The position in the owner's outbox; undefined: all of it is read. */
  readonly outbox: string | undefined;
  /** The last sequence of the stream that was read. */
  readonly sequence: number;
}

/** An event that no view can be made of: skipped, as the live projection has dead-lettered it. */
export interface Skipped {
  readonly messageId: string;
  readonly type: string;
  readonly error: string;
}

export interface RebuildReport {
  readonly rows: number;
  readonly missing: number;
  readonly added: number;
  readonly changed: number;
  /** Aggregates whose first events are nowhere. */
  readonly headless: number;
  /** Rows that were taken over from the live view. */
  readonly carriedOver: number;
  readonly differences: readonly Difference[];
}

/** Where the rebuild of a projection stands. */
export interface Rebuild {
  readonly projection: string;
  readonly id: string;
  /** The version of the projection that it builds. */
  readonly version: number;
  readonly status: RebuildStatus;
  readonly options: RebuildOptions;
  readonly cursors: Readonly<Record<string, Cursor>>;
  /** Events read. */
  readonly events: number;
  readonly skipped: readonly Skipped[];
  readonly report: RebuildReport | null;
  /** Why it does not get on at the moment, or why it ended as it did. */
  readonly problem: string | null;
  readonly startedAt: Date;
  readonly endedAt: Date | null;
}
