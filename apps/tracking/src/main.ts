import { runService } from '@flotilla/service';
import { TrackingConfig } from './tracking.config.ts';
import { TrackingModule } from './tracking.module.ts';

await runService(TrackingModule, TrackingConfig);
