import { runService } from '@flotilla/service';
import { CatalogConfig } from './catalog.config.ts';
import { CatalogModule } from './catalog.module.ts';

await runService(CatalogModule, CatalogConfig);
