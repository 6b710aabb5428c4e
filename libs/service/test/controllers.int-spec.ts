import { defineCommand, defineEvent, defineService } from '@flotilla/contracts-protocol';
import { DeadLetters, type Broker } from '@flotilla/messaging';
import { FlotillaClient } from '@flotilla/messaging/nest';
import { UnitOfWork } from '@flotilla/persistence';
import { until } from '@flotilla/testing';
import { Controller, Inject, Module } from '@nestjs/common';
import { CommandBus, CommandHandler, EventBus, type ICommandHandler } from '@nestjs/cqrs';
import { ClientsModule, EventPattern, MessagePattern, type ClientProxy } from '@nestjs/microservices';
import { lastValueFrom } from 'rxjs';
import type { MigrationInterface, QueryRunner } from 'typeorm';
import { z } from 'zod';
import { BROKER, defineConfig, FlotillaModule } from '../src/index.ts';
import { startTestService, type TestService } from '../src/testing/index.ts';

class WriteNote extends defineCommand({
  owner: 'desk',
  name: 'WriteNote',
  version: 1,
  payload: z.object({ text: z.string() }),
}) {}

class NoteWritten extends defineEvent({
  owner: 'desk',
  name: 'NoteWritten',
  version: 1,
  payload: z.object({ text: z.string() }),
  aggregate: ({ text }) => text,
}) {}

@CommandHandler(WriteNote)
class WriteNoteHandler implements ICommandHandler<WriteNote> {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly events: EventBus,
  ) {}

  async execute({ payload }: WriteNote): Promise<void> {
    if (payload.text === 'unreadable') throw new Error('nobody can read this');
    await this.unitOfWork.query('INSERT INTO notes VALUES ($1)', [payload.text]);
    this.events.publish(new NoteWritten(payload));
  }
}

/** As it stood in the code base before it became a service of the fleet. */
@Controller()
class DeskController {
  constructor(
    private readonly commands: CommandBus,
    private readonly unitOfWork: UnitOfWork,
    @Inject('DESK') private readonly desk: ClientProxy,
  ) {}

  @EventPattern('desk.opened')
  async opened(text: string): Promise<void> {
    await this.commands.execute(new WriteNote({ text }));
  }

  @MessagePattern({ cmd: 'count' })
  async count(): Promise<number> {
    const [row] = await this.unitOfWork.run(() =>
      this.unitOfWork.query<{ count: number }>('SELECT count(*)::int AS count FROM notes'),
    );
    return row?.count ?? 0;
  }

  @MessagePattern('desk.open')
  async open(text: string): Promise<string> {
    await lastValueFrom(this.desk.emit('desk.opened', text));
    return 'opened';
  }
}

class CreateNotes1700000000001 implements MigrationInterface {
  readonly name = 'CreateNotes1700000000001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('CREATE TABLE notes (text text NOT NULL)');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('DROP TABLE notes');
  }
}

const deskService = defineService({
  name: 'desk',
  handles: [WriteNote],
  publishes: [NoteWritten],
  patterns: {
    answers: [{ cmd: 'count' }, 'desk.open'],
    reacts: ['desk.opened'],
    emits: ['desk.opened'],
  },
});

const clients = ClientsModule.registerAsync([
  {
    name: 'DESK',
    inject: [BROKER],
    useFactory: (broker: Broker) => ({ customClass: FlotillaClient, options: { service: 'desk', broker } }),
  },
]);

@Module({
  imports: [
    FlotillaModule.forService({ manifest: deskService, migrations: [CreateNotes1700000000001] }),
    clients,
  ],
  controllers: [DeskController],
  providers: [WriteNoteHandler],
})
class DeskModule {}

class DeskConfig extends defineConfig({}) {}

describe('the controllers of a service', () => {
  let desk: TestService;
  let client: FlotillaClient;
  const send = (pattern: unknown, data: unknown): Promise<unknown> =>
    lastValueFrom(client.send<unknown>(pattern, data));

  beforeAll(async () => {
    desk = await startTestService({ module: DeskModule, config: DeskConfig, env: { MAX_ATTEMPTS: '2' } });
    client = new FlotillaClient({ service: 'harness', broker: desk.broker });
  });
  afterAll(() => desk.stop());

  it('run beside its handlers, on its broker, and may use its buses and its unit of work', async () => {
    expect(await send({ cmd: 'count' }, {})).toBe(0);
    expect(await send('desk.open', 'first')).toBe('opened');
    await desk.eventually(NoteWritten);
    await until(async () => (await send({ cmd: 'count' }, {})) === 1);
    await desk.execute(new WriteNote({ text: 'second' }));
    expect(await send({ cmd: 'count' }, {})).toBe(2);
  });

  it('share the events with the replicas of the service', async () => {
    await desk.startReplica();
    for (let n = 0; n < 20; n++) await lastValueFrom(client.emit('desk.opened', `note ${n}`));
    await until(async () => (await send({ cmd: 'count' }, {})) === 22);
  });

  it('have their dead letters under the name of the service', async () => {
    await lastValueFrom(client.emit('desk.opened', 'unreadable'));
    const letters = new DeadLetters(desk.broker.connection);
    const [letter] = await until(async () => {
      const list = await letters.list();
      return list.length > 0 && list;
    });
    expect(letter).toMatchObject({
      service: 'desk',
      consumer: 'desk_desk=2Eopened',
      errorMessage: 'nobody can read this',
      attempts: 2,
    });
  });

  it('are announced with the service', async () => {
    const answer = await desk.broker.connection.request('$SRV.INFO.desk', undefined, { timeout: 2_000 });
    const { endpoints } = answer.json<{ endpoints: { subject: string }[] }>();
    expect(endpoints.map(({ subject }) => subject)).toEqual([
      'rpc.desk.WriteNote.v1',
      'pattern.rpc.=7B=22cmd=22=3A=22count=22=7D',
      'pattern.rpc.desk.open',
    ]);
  });

  it('must be what the manifest says', async () => {
    @Module({
      imports: [
        FlotillaModule.forService({
          manifest: defineService({
            name: 'desk',
            handles: [WriteNote],
            publishes: [NoteWritten],
            patterns: { answers: ['desk.open'], reacts: ['desk.opened', 'desk.closed'] },
          }),
          migrations: [CreateNotes1700000000001],
        }),
        clients,
      ],
      controllers: [DeskController],
      providers: [WriteNoteHandler],
    })
    class WrongModule {}
    await expect(startTestService({ module: WrongModule, config: DeskConfig })).rejects.toThrow(
      /- \{"cmd":"count"\} has a @MessagePattern handler but is not listed in patterns\.answers\n- patterns\.reacts lists desk\.closed, which no @EventPattern handler takes/,
    );
    expect(() =>
      defineService({ name: 'desk', handles: [WriteNote], patterns: { answers: [WriteNote] } }),
    ).toThrow(/desk\.WriteNote\.v1 has a command or query handler already/);
  });
});
