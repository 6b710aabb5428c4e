import { randomBytes } from 'node:crypto';

/** A name that no other test has: `prefix` and ten random letters and digits; fits subjects, streams and databases. */
export function uniqueName(prefix: string): string {
  return `${prefix}_${randomBytes(5).toString('hex')}`;
}
