// Free of Nest and decorators: the `fleet` command loads it too.
export { scheduleMigrations } from './migration.ts';
export { isFailing, ScheduleStore, type Query, type ScheduleState } from './schedule-store.ts';
