import { z } from 'zod';
import {
  commandStream,
  commandSubject,
  contractOf,
  defineCommand,
  defineService,
  encodeEnvelope,
} from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { commandConsumer, connectNats, NatsBroker, provision, topologyOf } from '../src/index.ts';

class Greet extends defineCommand({
  owner: 'greeter',
  name: 'Greet',
  version: 1,
  payload: z.object({ name: z.string() }),
}) {}
const greeter = defineService({ name: 'greeter', handles: [Greet], database: false });

/** Sends a durable command and handles it. */
export async function greet(servers: string, name: string): Promise<string> {
  // Once, with an identity that may: `fleet provision` does it for a fleet.
  const admin = await connectNats({ servers, name: 'provisioning' });
  await provision(admin, topologyOf([greeter]));
  await admin.close();

  const broker = await NatsBroker.connect({ servers, name: 'greeter', service: 'greeter' });
  const greeted = new Promise<string>((resolve, reject) => {
    const consumer = { stream: commandStream('greeter'), name: commandConsumer('greeter') };
    broker
      .consume(consumer, { maxInFlight: 16 }, async ({ message }) => {
        const { payload } = new Greet(message.json() as { name: string });
        resolve(`Hello ${payload.name}`);
      })
      .catch(reject);
  });

  const contract = contractOf(Greet);
  const id = newId();
  await broker.publish({
    id,
    subject: commandSubject(contract, id),
    key: id,
    headers: encodeEnvelope({
      id,
      type: contract.type,
      source: 'example',
      time: new Date().toISOString(),
      subject: id,
      correlationId: id,
    }),
    body: JSON.stringify({ name }),
  });
  const answer = await greeted;
  await broker.close();
  return answer;
}
