import { problemsOf } from '@flotilla/contracts-protocol';
import type { z } from 'zod';
import { HttpProblem } from './problem.ts';

/** Reads a part of a request by its schema; throws a problem that names every field which is wrong. */
export function read<S extends z.ZodType>(
  what: 'body' | 'query' | 'path' | 'headers',
  schema: S,
  value: unknown,
): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const errors = problemsOf(result.error);
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
