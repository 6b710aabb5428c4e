import { CreateMailbox1767225600000 } from './1767225600000-create-mailbox.ts';

/** The notifications service's own tables, in order; the chassis' tables come before them. */
export const notificationsMigrations = [CreateMailbox1767225600000];
