import type { PayloadOf, ReplyOf } from '@flotilla/contracts-protocol';
import { Controller } from '@nestjs/common';
import { MessagePattern, Payload } from '@nestjs/microservices';
import { GetInvoice } from './get-invoice.ts';

@Controller()
export class InvoicesController {
  @MessagePattern(GetInvoice)
  invoice(@Payload() { orderId }: PayloadOf<GetInvoice>): ReplyOf<GetInvoice> {
    if (orderId !== 'o-1') throw GetInvoice.failure('NoInvoice', { orderId });
    return { amount: 12 };
  }
}
