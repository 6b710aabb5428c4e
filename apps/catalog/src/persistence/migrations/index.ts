import { CreateProducts1767225600000 } from './1767225600000-create-products.ts';

/** The catalogue's own tables, in order; the chassis' tables come before them. */
export const catalogMigrations = [CreateProducts1767225600000];
