import {
  Controller,
  ParseIntPipe,
  UseFilters,
  UseGuards,
  UseInterceptors,
  UsePipes,
  type PipeTransform,
} from '@nestjs/common';
import {
  Ctx,
  EventPattern,
  MessagePattern,
  NatsContext,
  Payload,
  RpcException,
  Transport,
} from '@nestjs/microservices';
import { concat, delay, EMPTY, from, Observable, of, throwError } from 'rxjs';
import { z } from 'zod';
import { Ledger } from './ledger.ts';
import {
  CreditLimitFilter,
  MembersGuard,
  OutOfCredit,
  SwallowFilter,
  TimingInterceptor,
  UpperCaseInterceptor,
} from './pipeline.ts';

interface Order {
  readonly id: string;
  readonly quantity: number;
}

const orderSchema = z.object({ id: z.string(), quantity: z.number().int().positive() });

const trim: PipeTransform<string> = { transform: (value) => value.trim() };

@Controller()
@UseInterceptors(TimingInterceptor)
export class OrdersController {
  constructor(private readonly ledger: Ledger) {}

  // What a handler may return

  @MessagePattern({ cmd: 'sum' })
  sum(numbers: number[]): number {
    return numbers.reduce((sum, each) => sum + each, 0);
  }

  @MessagePattern('order.find')
  async find(@Payload('id') id: string): Promise<Order | null> {
    return id === 'unknown' ? null : { id, quantity: 2 };
  }

  @MessagePattern('order.history')
  history(): Observable<string> {
    return from(['placed', 'paid', 'shipped']).pipe(delay(5));
  }

  @MessagePattern('order.late')
  late(): Promise<Observable<string>> {
    return Promise.resolve(of('late'));
  }

  @MessagePattern('order.forget')
  forget(): void {
    this.ledger.note('forget');
  }

  @MessagePattern('order.none')
  none(): Observable<never> {
    return EMPTY;
  }

  @MessagePattern(['order.ping', 'order.pong'])
  several(@Ctx() context: NatsContext): string {
    return context.getSubject();
  }

  @MessagePattern('order.elsewhere', Transport.TCP)
  elsewhere(): string {
    return 'never over NATS';
  }

  // Failures

  @MessagePattern('order.refuse')
  refuse(reason: string | object): never {
    throw new RpcException(reason);
  }

  @MessagePattern('order.break')
  break(): never {
    throw new Error('a secret of the database');
  }

  @MessagePattern('order.halfway')
  halfway(): Observable<string> {
    return concat(
      of('first'),
      throwError(() => new RpcException('then it broke')),
    );
  }

  @MessagePattern('order.credit')
  @UseFilters(CreditLimitFilter)
  credit(amount: number): never {
    throw new OutOfCredit(amount);
  }

  // Guards, pipes, interceptors

  @MessagePattern('order.members')
  @UseGuards(MembersGuard)
  members(): string {
    return 'welcome';
  }

  @MessagePattern('order.place')
  place(@Payload({ schema: orderSchema }) order: Order): string {
    return `${order.quantity} for ${order.id}`;
  }

  @MessagePattern('order.parse')
  parse(@Payload(ParseIntPipe) quantity: number): number {
    return quantity + 1;
  }

  @MessagePattern('order.trim')
  @UsePipes(trim)
  @UseInterceptors(UpperCaseInterceptor)
  trimmed(text: string): string {
    return text;
  }

  // What comes with the message

  @MessagePattern('order.context')
  context(@Ctx() context: NatsContext): object {
    return {
      subject: context.getSubject(),
      version: (context.getHeaders() as { get(name: string): string }).get('x-version'),
      nats: context instanceof NatsContext,
    };
  }

  @MessagePattern('audit.*.entries')
  wildcard(@Ctx() context: NatsContext): string {
    return context.getSubject();
  }

  // Events

  @EventPattern('order.created')
  async created({ id }: Order): Promise<void> {
    await Promise.resolve();
    this.ledger.note(`created ${id}`);
  }

  @EventPattern('order.created')
  alsoCreated({ id }: Order): Observable<string> {
    this.ledger.note(`also created ${id}`);
    return of(id);
  }

  @EventPattern({ event: 'paid', by: 'card' })
  paid(id: string): void {
    this.ledger.note(`paid ${id}`);
  }

  @EventPattern('stock.moved')
  moved(sku: string): void {
    this.ledger.note(`moved ${sku}`);
  }

  @EventPattern('stock.>')
  anything(@Ctx() context: NatsContext): void {
    this.ledger.note(`anything ${context.getSubject()}`);
  }

  @EventPattern('order.guarded')
  @UseGuards(MembersGuard)
  @UseFilters(SwallowFilter)
  guarded(_data: unknown): void {
    this.ledger.note('guarded');
  }
}
