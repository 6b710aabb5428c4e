import { CreateInboxAndOutbox1700000000000 } from './1700000000000-create-inbox-and-outbox.ts';
import { CreateProjectionRebuilds1700000050000 } from './1700000050000-create-projection-rebuilds.ts';
import { CreateSchemaFunctions1700000060000 } from './1700000060000-create-schema-functions.ts';

/** What the chassis itself needs in a service's database, in order. */
export const chassisMigrations = [
  CreateInboxAndOutbox1700000000000,
  CreateProjectionRebuilds1700000050000,
  CreateSchemaFunctions1700000060000,
] as const;
