import { defineService } from '@flotilla/contracts-protocol';
import { newId } from '@flotilla/kernel';
import { DeadLetters } from '@flotilla/messaging';
import { until } from '@flotilla/testing';
import { jetstreamManager } from '@nats-io/jetstream';
import {
  Add,
  Added,
  AskBalance,
  Begin,
  Charge,
  GetBalance,
  GetTotal,
  Settled,
} from './fixtures/contracts.ts';
import { AlphaStack } from './support/alpha-stack.ts';
import { goProgram, PlainProcess, pythonProgram, typescriptProgram } from './support/plain-program.ts';

/** The programs' part in the fleet: from these, streams and consumers are provisioned. */
const outside = defineService({
  name: 'outside',
  database: false,
  calls: [GetTotal],
  sends: [Add],
  reacts: { watch: { events: [Added] } },
});
const beta = defineService({
  name: 'beta',
  database: false,
  handles: [GetBalance, Charge],
  publishes: [Settled],
});

const programs = [typescriptProgram(), await pythonProgram(), await goProgram()];

afterAll(async () => {
  for (const program of programs) await program.dispose();
});

// What cannot run here is shown as skipped, with the reason.
for (const program of programs) {
  const { language, missing } = program;
  const title = `a program in ${language} with a plain NATS client`;
  const suite = missing === undefined ? describe : describe.skip;

  suite(missing === undefined ? title : `${title} (skipped: ${missing})`, () => {
    it('calls a service, sends it a durable command and reads its event', async () => {
      await using stack = await AlphaStack.start({ beside: [outside, beta] });
      const alpha = stack.run();
      await alpha.ready();
      await using caller = new PlainProcess(program, 'call', stack.natsUrl);
      const said = await caller.end();
      const key = `${language === 'Python' ? 'py' : language === 'Go' ? 'go' : 'ts'}-1`;
      const answer = { answer: { total: 5 }, outcome: 'ok', mine: true, conversation: 'conversation-1' };
      expect(said).toEqual([
        { query: expect.objectContaining({ code: 'UnknownAccount' }) as object, outcome: 'refused' },
        // The second sending is answered as the first, and changes nothing.
        answer,
        answer,
        { event: { accountId: key, amount: 5 }, type: 'alpha.Added.v1', about: key },
      ]);
      expect(await stack.sql('SELECT account_id, total FROM accounts')).toEqual([
        { account_id: key, total: 5 },
      ]);
      const manager = await jetstreamManager(stack.broker.connection);
      expect((await manager.streams.info('REPLY_outside')).state.messages).toBe(0);
    }, 120_000);

    it('answers a query of a service and handles the durable command of its saga', async () => {
      await using stack = await AlphaStack.start({ beside: [outside, beta] });
      await using server = new PlainProcess(program, 'serve', stack.natsUrl);
      await server.says('ready');
      const alpha = stack.run();
      await alpha.ready();
      const reply = await stack.request(new AskBalance({ accountId: 'a' }));
      expect(reply.json()).toEqual({ balance: 42 });
      const tabId = `tab-${newId()}`;
      await stack.request(new Begin({ tabId }));
      await until(
        async () => {
          const [tab] = await stack.sql<{ status: string }>('SELECT status FROM tabs WHERE tab_id = $1', [
            tabId,
          ]);
          return tab?.status === 'charged';
        },
        { describe: 'the saga has the answer' },
      );
      expect(server.said.filter((fact) => 'handled' in fact)).toMatchObject([{ first: true }]);

      // What it cannot read it gives up, where a person sees it.
      const id = newId();
      await stack.broker.publish({
        id,
        subject: 'cmd.beta.Charge.v1.0.x',
        key: 'x',
        headers: { 'ce-id': id, 'ce-type': 'beta.Other.v1' },
        body: '{}',
      });
      const [letter] = await until(async () => {
        const list = await new DeadLetters(stack.broker.connection).list();
        return list.length > 0 && list;
      });
      expect(letter).toMatchObject({
        service: 'beta',
        consumer: 'beta',
        errorCode: 'UNKNOWN_MESSAGE',
        errorMessage: 'no handler for beta.Other.v1',
        originalStream: 'CMD_beta',
        originalSubject: 'cmd.beta.Charge.v1.0.x',
        attempts: 1,
      });
      await server.stop();
    }, 120_000);
  });
}
