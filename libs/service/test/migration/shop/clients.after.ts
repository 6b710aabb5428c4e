import { FlotillaClient } from '@flotilla/messaging/nest';
import { ClientsModule } from '@nestjs/microservices';

export const clients = (servers: string) =>
  ClientsModule.register([
    { name: 'BILLING', customClass: FlotillaClient, options: { service: 'shop', servers } },
  ]);
