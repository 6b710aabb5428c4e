import {
  Catch,
  Injectable,
  Scope,
  type ArgumentsHost,
  type CallHandler,
  type CanActivate,
  type ExceptionFilter,
  type ExecutionContext,
  type NestInterceptor,
} from '@nestjs/common';
import { RpcException } from '@nestjs/microservices';
import { EMPTY, map, tap, throwError, type Observable } from 'rxjs';
import { Ledger } from './ledger.ts';

/** Lets those in that say who they are. */
@Injectable()
export class MembersGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const data = context.switchToRpc().getData<{ member?: boolean }>();
    return data.member === true;
  }
}

@Injectable()
export class TimingInterceptor implements NestInterceptor {
  constructor(private readonly ledger: Ledger) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const handler = context.getHandler().name;
    return next.handle().pipe(tap({ complete: () => this.ledger.note(`completed ${handler}`) }));
  }
}

@Injectable()
export class UpperCaseInterceptor implements NestInterceptor {
  intercept(_context: ExecutionContext, next: CallHandler<string>): Observable<string> {
    return next.handle().pipe(map((text) => text.toUpperCase()));
  }
}

export class OutOfCredit extends Error {
  constructor(readonly amount: number) {
    super('out of credit');
  }
}

/** Turns an error of the domain into what callers know. */
@Catch(OutOfCredit)
export class CreditLimitFilter implements ExceptionFilter<OutOfCredit> {
  catch(error: OutOfCredit): Observable<never> {
    return throwError(() => ({ status: 'no-credit', message: error.message, amount: error.amount }));
  }
}

/** Says that it does not matter. */
@Catch(RpcException)
export class SwallowFilter implements ExceptionFilter<RpcException> {
  catch(_error: RpcException, _host: ArgumentsHost): Observable<never> {
    return EMPTY;
  }
}

let requests = 0;

/** One for each message. */
@Injectable({ scope: Scope.REQUEST })
export class RequestNumber {
  readonly value = ++requests;
}
