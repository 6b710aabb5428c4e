import { contractsOf, defineCommand, defineEvent, defineService } from '@flotilla/contracts-protocol';
import { z } from 'zod';
import { checkContracts } from './check-contracts.ts';

class Pay extends defineCommand({
  owner: 'till',
  name: 'Pay',
  version: 1,
  payload: z.object({ id: z.string() }),
}) {}
class Paid extends defineEvent({
  owner: 'till',
  name: 'Paid',
  version: 1,
  payload: z.object({ id: z.string() }),
  aggregate: ({ id }) => id,
}) {}
class Strange extends defineCommand({
  owner: 'till',
  name: 'Strange',
  version: 1,
  payload: z.object({ when: z.date() }),
}) {}

const till = defineService({ name: 'till', handles: [Pay], publishes: [Paid] });
const shop = defineService({ name: 'shop', sends: [Pay], reacts: { paid: { events: [Paid] } } });
const published = contractsOf([Pay, Paid]);

describe('contracts', () => {
  it('that fit have no problems', () => {
    expect(checkContracts([till, shop], published)).toEqual({ problems: [], remarks: [] });
  });

  it('that nobody answers or publishes are problems of those who rely on them', () => {
    const { problems, remarks } = checkContracts([shop], published);
    expect(problems).toEqual([
      'till.Pay.v1: shop asks for it, and no service answers',
      'till.Paid.v1: shop reacts to it, and no service publishes it',
    ]);
    expect(remarks).toHaveLength(2);
  });

  it('that the owner leaves out are problems, and what nobody uses is a remark', () => {
    const idle = defineService({ name: 'till', handles: [Pay] });
    expect(checkContracts([idle], published)).toEqual({
      problems: ["till.Paid.v1: published as till's, and till does not publish it"],
      remarks: ['till.Pay.v1: nobody asks for it'],
    });
  });

  it('that two services answer are a problem, and it says who should stop', () => {
    const stand = defineService({ name: 'shop', standsInFor: [Pay], reacts: { paid: { events: [Paid] } } });
    expect(checkContracts([till, stand], published).problems).toEqual([
      'till.Pay.v1: answered by till and shop; till owns it, so nobody has to stand in for it any more',
    ]);
  });

  it('of which no JSON Schema can be made, or that are defined twice, are problems', () => {
    const { problems } = checkContracts([till, shop], [...published, ...contractsOf([Strange, Pay])]);
    expect(problems.join('\n')).toMatch(/Strange.v1: no JSON Schema.*\n[^]*till.Pay.v1: defined 2 times/);
  });
});
