import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern, Payload, RpcException } from '@nestjs/microservices';

interface OrderCreated {
  readonly orderId: string;
  readonly amount: number;
}

@Controller()
export class BillingController {
  private readonly invoices = new Map<string, number>();

  @EventPattern('order.created')
  created(@Payload() { orderId, amount }: OrderCreated): void {
    this.invoices.set(orderId, amount);
  }

  @MessagePattern({ cmd: 'invoice' })
  invoice(@Payload() orderId: string): number {
    const amount = this.invoices.get(orderId);
    if (amount === undefined) throw new RpcException(`no invoice for ${orderId}`);
    return amount;
  }
}
