/** The planted bugs, by name; what they are is in bugs.ts, which needs the services. */
export const bugNames = [
  'ack-before-commit',
  'inbox-outside-transaction',
  'outbox-outside-transaction',
  'commit-taken-for-granted',
  'version-not-checked',
  'timers-in-memory',
  'replies-not-correlated',
  'publish-before-stored',
  'retried-under-new-ids',
  'no-relay',
  'no-reconciler',
  'payments-without-keys',
  'no-inbox',
  'compensation-twice',
  'trials-side-by-side',
] as const;

export type BugName = (typeof bugNames)[number];
