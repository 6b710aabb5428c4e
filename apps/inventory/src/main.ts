import { runService } from '@flotilla/service';
import { InventoryConfig } from './inventory.config.ts';
import { InventoryModule } from './inventory.module.ts';

await runService(InventoryModule, InventoryConfig);
