import { BusinessError, failureBody, type FailureBody } from '@flotilla/contracts-protocol';
import { errorCode, FlotillaError } from '@flotilla/kernel';
import { BaseRpcExceptionFilter } from '@nestjs/microservices';
import { catchError, throwError, type Observable } from 'rxjs';
import { HandlerFailedError, InvalidDataError } from './transport.errors.ts';

const causes = new WeakMap<object, unknown>();
let remembering = false;

/**
 * Nest's exception filter turns an error that is no `RpcException` into `Internal server error`, which is all that a
 * caller should see. What becomes of an event depends on the error itself, and a dead letter has to name it: so the
 * filter notes which error it has turned into which answer. Nothing that anybody sees changes.
 */
export function rememberCauses(): void {
  if (remembering) return;
  remembering = true;
  const filter = BaseRpcExceptionFilter.prototype as {
    handleUnknownError: (this: object, exception: unknown, status: string) => Observable<unknown>;
  };
  const original = filter.handleUnknownError;
  filter.handleUnknownError = function (exception, status) {
    return original.call(this, exception, status).pipe(
      catchError((answer: unknown) => {
        if (typeof answer === 'object' && answer !== null) causes.set(answer, exception);
        return throwError(() => answer);
      }),
    );
  };
}

/** What a handler failed with, for the settlement and the dead letter: always an error. */
export function failureOf(pattern: string, thrown: unknown): Error {
  const cause = causeOf(thrown);
  if (cause instanceof Error) {
    const problems = invalidData(cause);
    return problems === undefined ? cause : new InvalidDataError(pattern, problems, cause);
  }
  const { code, message, retry } = describe(cause);
  return new HandlerFailedError(pattern, code, message, retry);
}

/** What a caller is answered: a declared refusal, or the failure as the exception filters have made it. */
export interface FailedAnswer {
  readonly outcome: 'refused' | 'failed';
  /** `error` is what `ClientProxy.send` reports: whatever the filters made of the exception. */
  readonly body: FailureBody & { readonly error?: unknown; readonly values?: readonly unknown[] };
}

/** Turns what a handler threw into the answer to its caller. */
export function failedAnswer(thrown: unknown): FailedAnswer {
  const cause = causeOf(thrown);
  if (cause instanceof BusinessError) return { outcome: 'refused', body: failureBody(cause) };
  if (thrown instanceof FlotillaError) return { outcome: 'failed', body: failureBody(thrown) };
  const { message, retry, ...described } = describe(thrown);
  const code = cause instanceof Error ? errorCode(cause) : described.code;
  const advice = cause instanceof Error && invalidData(cause) !== undefined ? 'never' : retry;
  return { outcome: 'failed', body: { code, message, retry: advice, error: asJson(thrown) } };
}

function causeOf(thrown: unknown): unknown {
  return (typeof thrown === 'object' && thrown !== null ? causes.get(thrown) : undefined) ?? thrown;
}

function describe(thrown: unknown): FailureBody {
  const fields = (typeof thrown === 'object' && thrown !== null ? thrown : {}) as Record<string, unknown>;
  const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
  return {
    code: text(fields['code']) ?? 'RPC_EXCEPTION',
    message: text(fields['message']) ?? text(thrown) ?? JSON.stringify(thrown) ?? 'no reason given',
    retry: fields['retry'] === 'never' ? 'never' : 'later',
  };
}

/** An error in JSON is `{}`: what it says has to be taken out of it. */
function asJson(thrown: unknown): unknown {
  return thrown instanceof Error ? { ...thrown, name: thrown.name, message: thrown.message } : thrown;
}

/** What Nest's validation pipes say, which throw a bad request (400) or an unprocessable entity (422). */
function invalidData(error: Error): string | undefined {
  if (!('getStatus' in error && typeof error.getStatus === 'function')) return undefined;
  const status: unknown = (error as Error & { getStatus(): unknown }).getStatus();
  if (status !== 400 && status !== 422) return undefined;
  const response = 'getResponse' in error && (error as Error & { getResponse(): unknown }).getResponse();
  const problems =
    typeof response === 'object' && response !== null && 'message' in response
      ? response.message
      : error.message;
  return Array.isArray(problems) ? problems.map(String).join('; ') : String(problems);
}
