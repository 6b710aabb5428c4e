import { runService } from '@flotilla/service';
import { PaymentsConfig } from './payments.config.ts';
import { PaymentsModule } from './payments.module.ts';

await runService(PaymentsModule, PaymentsConfig);
