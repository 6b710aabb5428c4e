import { ClientsModule, Transport } from '@nestjs/microservices';

export const clients = (servers: string) =>
  ClientsModule.register([{ name: 'BILLING', transport: Transport.NATS, options: { servers: [servers] } }]);
