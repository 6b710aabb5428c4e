import { CreateInboxAndOutbox1700000000000 } from './1700000000000-create-inbox-and-outbox.ts';

/** What the chassis itself needs in a service's database, in order. */
export const chassisMigrations = [CreateInboxAndOutbox1700000000000] as const;
