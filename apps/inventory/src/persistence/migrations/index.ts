import { CreateStock1767225600000 } from './1767225600000-create-stock.ts';
import { HoldAndReturnStock1767225600001 } from './1767225600001-hold-and-return-stock.ts';

/** Inventory's own tables, in order; the chassis' tables come before them. */
export const inventoryMigrations = [CreateStock1767225600000, HoldAndReturnStock1767225600001];
