import type { z } from 'zod';

/** One thing wrong with a value: where (`lines.2.quantity`, empty for the value itself) and what. */
export interface Problem {
  readonly path: string;
  readonly message: string;
}

/** All problems of a failed zod check, in the order of the fields. */
export function problemsOf(error: z.ZodError): Problem[] {
  return error.issues.map((issue) => ({ path: issue.path.map(String).join('.'), message: issue.message }));
}

/** Parses `value`, or throws what `makeError` makes of all its problems at once. */
export function parseWith<S extends z.ZodType>(
  schema: S,
  value: unknown,
  makeError: (problems: readonly Problem[]) => Error,
): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw makeError(problemsOf(result.error));
}

/** The problems as one readable line. */
export function describeProblems(problems: readonly Problem[]): string {
  return problems.map(({ path, message }) => (path === '' ? message : `${path}: ${message}`)).join('; ');
}
