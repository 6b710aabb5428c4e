import { CreateStock1767225600000 } from './1767225600000-create-stock.ts';

/** Inventory's own tables, in order; the chassis' tables come before them. */
export const inventoryMigrations = [CreateStock1767225600000];
