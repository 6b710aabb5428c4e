import { runService } from '@flotilla/service';
import { GatewayConfig } from './gateway.config.ts';
import { GatewayModule } from './gateway.module.ts';

await runService(GatewayModule, GatewayConfig);
