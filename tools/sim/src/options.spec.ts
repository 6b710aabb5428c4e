import { parseOptions } from './options.ts';

const written: string[] = [];
const writers = { out: (text: string) => written.push(text), err: (text: string) => written.push(text) };
const parse = (...argv: string[]) => parseOptions(argv, ['some-bug'], writers);

describe('the command line', () => {
  it('asks for ten thousand seeds on two processes unless it says otherwise', () => {
    expect(parse()).toMatchObject({ seeds: 10_000, from: 1, workers: 2, seed: undefined, trace: false });
    expect(parse('--seeds', '1', '--from', '7', '--workers', '4')).toMatchObject({
      seeds: 1,
      from: 7,
      workers: 1,
    });
  });

  it('may name one seed, and ask for its trace', () => {
    expect(parse('--seed', '12', '--trace')).toMatchObject({ seeds: 1, from: 12, workers: 1, trace: true });
    expect(() => parse('--trace')).toThrow('say which with --seed');
  });

  it('knows the planted bugs', () => {
    expect(parse('--bug', 'some-bug')).toMatchObject({ bug: 'some-bug' });
    expect(() => parse('--bug', 'other')).toThrow('There is no planted bug "other"; there are some-bug');
  });

  it.each([
    ['--seeds', '0'],
    ['--seeds', '1.5'],
    ['--from', '-1'],
    ['--minutes', 'soon'],
  ])('refuses %s %s', (...argv) => {
    expect(() => parse(...argv)).toThrow(`not "${argv[1]}"`);
  });
});
