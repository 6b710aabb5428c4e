import { currentContext } from './context.ts';
import { traceHeaders, withSpan } from './tracing.ts';

/** What work that is put off has to remember, so that it still belongs to what caused it. Plain JSON. */
export interface Origin {
  readonly correlationId: string;
  readonly traceparent?: string;
  readonly tracestate?: string;
}

/** The origin of the running code, to be stored with what is done later; undefined where nothing caused it. */
export function currentOrigin(): Origin | undefined {
  const context = currentContext();
  return context && { correlationId: context.correlationId, ...traceHeaders() };
}

/** Does later what an origin caused: in its correlation and, under a span of this name, in its trace. */
export function continueFrom<T>(origin: Origin | undefined, spanName: string, fn: () => T): T {
  if (origin === undefined) return fn();
  return withSpan(spanName, { parent: origin, context: { correlationId: origin.correlationId } }, fn);
}
