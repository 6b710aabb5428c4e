import { Module, StandardSchemaValidationPipe } from '@nestjs/common';
import { APP_PIPE } from '@nestjs/core';
import { RpcException } from '@nestjs/microservices';
import { Ledger } from './ledger.ts';
import { OrdersController } from './orders.controller.ts';
import { RequestNumber } from './pipeline.ts';
import { VisitorsController } from './visitors.controller.ts';

@Module({
  controllers: [OrdersController, VisitorsController],
  providers: [
    Ledger,
    RequestNumber,
    {
      provide: APP_PIPE,
      useFactory: () =>
        new StandardSchemaValidationPipe({
          exceptionFactory: (issues) => new RpcException({ code: 'INVALID', message: issues[0]?.message }),
        }),
    },
  ],
})
export class ShopModule {}
