import { Controller } from '@nestjs/common';
import { EventPattern, MessagePattern } from '@nestjs/microservices';
import { Ledger } from './ledger.ts';
import { RequestNumber } from './pipeline.ts';

/** Made anew for each message, because what it injects is. */
@Controller()
export class VisitorsController {
  constructor(
    private readonly request: RequestNumber,
    private readonly ledger: Ledger,
  ) {}

  @MessagePattern('visitor.number')
  number(): number {
    return this.request.value;
  }

  @EventPattern('visitor.came')
  came(name: string): void {
    this.ledger.note(`visitor ${name}`);
  }
}
