import { runService } from '@flotilla/service';
import { ShippingConfig } from './shipping.config.ts';
import { ShippingModule } from './shipping.module.ts';

await runService(ShippingModule, ShippingConfig);
