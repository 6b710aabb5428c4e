import { problemsOf, type Problem } from '@flotilla/contracts-protocol';
import type { z } from 'zod';
import { HttpProblem } from './problem.ts';

/** Reads a part of a request by its schema; throws a problem that names every field which is wrong. */
export function read<S extends z.ZodType>(
  what: 'body' | 'query' | 'path' | 'headers',
  schema: S,
  value: unknown,
): z.output<S> {
  const result = schema.safeParse(value);
  const errors = result.success ? unstorable(result.data) : problemsOf(result.error);
  if (result.success && errors.length === 0) return result.data;
  const first = errors[0];
  const where = first?.path ? `${first.path}: ` : '';
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : '';
  throw new HttpProblem(
    400,
    'invalid-request',
    `Not valid in the ${what}: ${where}${first?.message ?? ''}${more}`,
    {
      errors,
    },
  );
}

const NOT_TEXT = 'must be Unicode text without the character NUL';

/** Text that JSON can write and no database can keep: NUL, and halves of surrogate pairs. */
function unstorable(value: unknown, path = ''): Problem[] {
  if (typeof value === 'string')
    return value.includes('\0') || !value.isWellFormed() ? [{ path, message: NOT_TEXT }] : [];
  if (typeof value !== 'object' || value === null) return [];
  const problems: Problem[] = [];
  for (const [name, field] of Object.entries(value)) {
    if (typeof field === 'number' || field === undefined) continue;
    const found = unstorable(field, path === '' ? name : `${path}.${name}`);
    if (found.length > 0) problems.push(...found);
  }
  return problems;
}
