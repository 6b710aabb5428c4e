import { parseOptions, type ChaosOptions } from './options.ts';

const parse = (argv: readonly string[], env: NodeJS.ProcessEnv = {}): ChaosOptions =>
  parseOptions(argv, { out: () => undefined, err: () => undefined }, env);

const complaint = (...argv: string[]): string => {
  let text = '';
  const write = (part: string): void => void (text += part);
  expect(() => parseOptions(argv, { out: write, err: write }, {})).toThrow();
  return text;
};

it('takes ten minutes and all kinds without arguments', () => {
  expect(parse([])).toMatchObject({
    faults: undefined,
    forMs: 600_000,
    seed: 1,
    ackWaitMs: 5_000,
    duplicateWindowMs: 20_000,
    portBase: 24_080,
    keep: false,
  });
});

it('reads every option', () => {
  const argv = '--faults poison,pause --minutes 0.5 --seed 7 --rate 2.5 --ack-wait 30s --duplicate-window 2m';
  expect(parse([...argv.split(' '), '--port-base', '5000', '--keep'])).toMatchObject({
    faults: ['poison', 'pause'],
    forMs: 30_000,
    seed: 7,
    perSecond: 2.5,
    ackWaitMs: 30_000,
    duplicateWindowMs: 120_000,
    portBase: 5_000,
    keep: true,
  });
  expect(parse([], { FLOTILLA_PORT_BASE: '6000' }).portBase).toBe(6_000);
});

it.each([
  [['--minutes', '0'], 'It must be a number from 0.2 to 600.'],
  [['--seed', '1.5'], 'It must be a whole number.'],
  [['--ack-wait', 'long'], 'Write it as 500ms, 5s or 2m.'],
])('says what is wrong with %j', (argv, text) => expect(complaint(...argv)).toContain(text));

it('says what is wrong with the base of the ports', () => {
  expect(() => parse([], { FLOTILLA_PORT_BASE: '80' })).toThrow('FLOTILLA_PORT_BASE is "80"');
});
