import { Inject, Injectable } from '@nestjs/common';
import type { ClientProxy } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';

@Injectable()
export class Orders {
  constructor(@Inject('BILLING') private readonly billing: ClientProxy) {}

  async create(orderId: string, amount: number): Promise<void> {
    await lastValueFrom(this.billing.emit('order.created', { orderId, amount }));
  }

  invoice(orderId: string): Promise<number> {
    return lastValueFrom(this.billing.send<number>({ cmd: 'invoice' }, orderId));
  }
}
