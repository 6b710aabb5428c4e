import { InvalidMessageError, parseWith } from '@flotilla/contracts-protocol';
import type { z } from 'zod';

/** Something that the owner's own code tells a saga, by name and with a payload. */
export interface SagaSignal<P = unknown> {
  readonly name: string;
  /** Throws InvalidMessageError for a payload that the signal does not allow. */
  readonly parse: (payload: unknown) => P;
}

/**
 * Declares a signal: `const reviewed = signal('reviewed', z.object({ approved: z.boolean() }))`. A saga waits for it
 * with `waitForSignal`; the owner's handler sends it with `sagas.signal(definition, id, reviewed, { approved: true })`.
 */
export function signal<S extends z.ZodType>(name: string, schema: S): SagaSignal<z.output<S>> {
  return {
    name,
    parse: (payload) =>
      parseWith(schema, payload, (problems) => new InvalidMessageError(`signal ${name}`, problems)),
  };
}
