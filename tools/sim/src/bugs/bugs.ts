import type { Tampering } from '../world/service-process.ts';
import type { BugName } from './names.ts';
import { ackBeforeCommit, publishBeforeStored, retriedUnderNewIds, trialsSideBySide } from './broker-bugs.ts';
import { compensationTwice, paymentsWithoutKeys } from './application-bugs.ts';
import {
  commitTakenForGranted,
  inboxOutsideTransaction,
  noInbox,
  noRelay,
  noReconciler,
  outboxOutsideTransaction,
} from './persistence-bugs.ts';
import { repliesNotCorrelated, timersInMemory, versionNotChecked } from './saga-bugs.ts';

/** A fault planted in the product, to see that the simulator finds it. Nothing of the product knows of it. */
export interface Bug {
  readonly name: BugName;
  /** What is wrong, in a sentence. */
  readonly what: string;
  readonly plant: Tampering;
}

/** All of them. Each takes the place of a part of a service in the simulation, and exists nowhere else. */
export const bugs: readonly Bug[] = [
  {
    name: 'ack-before-commit',
    what: 'a message is acknowledged when it arrives, not when its unit of work is committed',
    plant: ackBeforeCommit,
  },
  {
    name: 'inbox-outside-transaction',
    what: 'the inbox row is committed before the changes, in a transaction of its own',
    plant: inboxOutsideTransaction,
  },
  {
    name: 'outbox-outside-transaction',
    what: 'events are published directly, after the commit, instead of through the outbox',
    plant: outboxOutsideTransaction,
  },
  {
    name: 'commit-taken-for-granted',
    what: 'a commit whose outcome is unknown counts as done',
    plant: commitTakenForGranted,
  },
  {
    name: 'version-not-checked',
    what: 'a saga is saved whatever its revision has become meanwhile',
    plant: versionNotChecked,
  },
  {
    name: 'timers-in-memory',
    what: 'only timers that were set in this process fire',
    plant: timersInMemory,
  },
  {
    name: 'replies-not-correlated',
    what: 'whatever answer comes counts as the answer to the command in flight',
    plant: repliesNotCorrelated,
  },
  {
    name: 'publish-before-stored',
    what: 'a message is marked as published before the broker has acknowledged it',
    plant: publishBeforeStored,
  },
  {
    name: 'retried-under-new-ids',
    what: 'a message that is published again has another id, so that nobody recognises it',
    plant: retriedUnderNewIds,
  },
  {
    name: 'no-relay',
    what: 'nobody publishes what a dead process has committed',
    plant: noRelay,
  },
  {
    name: 'no-reconciler',
    what: 'nobody publishes again what the broker has lost',
    plant: noReconciler,
  },
  {
    name: 'payments-without-keys',
    what: 'the payment provider is asked under a new idempotency key each time',
    plant: paymentsWithoutKeys,
  },
  {
    name: 'no-inbox',
    what: 'a message that comes again is handled again',
    plant: noInbox,
  },
  {
    name: 'compensation-twice',
    what: 'a release of stock that comes again, past the inbox, gives back what the order no longer holds',
    plant: compensationTwice,
  },
  {
    name: 'trials-side-by-side',
    what: 'messages that may have ended their process are tried all at once, not one at a time',
    plant: trialsSideBySide,
  },
];

export function bugNamed(name: string): Bug | undefined {
  return bugs.find((bug) => bug.name === name);
}
