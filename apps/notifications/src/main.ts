import { runService } from '@flotilla/service';
import { NotificationsConfig } from './notifications.config.ts';
import { NotificationsModule } from './notifications.module.ts';

await runService(NotificationsModule, NotificationsConfig);
