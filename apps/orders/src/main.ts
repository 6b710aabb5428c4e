import { runService } from '@flotilla/service';
import { OrdersConfig } from './orders.config.ts';
import { OrdersModule } from './orders.module.ts';

await runService(OrdersModule, OrdersConfig);
