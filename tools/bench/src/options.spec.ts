import { parseOptions, type BenchOptions } from './options.ts';

function parse(...argv: string[]): BenchOptions {
  return parseOptions(argv, { out: () => undefined, err: () => undefined }, {});
}

function output(...argv: string[]): string {
  let text = '';
  const write = (part: string): void => void (text += part);
  expect(() => parseOptions(argv, { out: write, err: write }, {})).toThrow();
  return text;
}

it('runs everything three times without arguments', () => {
  expect(parse()).toMatchObject({
    benchmarks: ['a', 'b', 'c', 'd', 'e', 'f', 'g'],
    runs: 3,
    seconds: 10,
    warmupSeconds: 3,
    orders: 10_000,
    peers: false,
    inFlight: undefined,
    csv: undefined,
    portBase: 23_000,
  });
});

it.each([['c', 'a'], ['a,c'], ['ac'], ['a', 'c', 'a']])(
  'takes the benchmarks in their order: %j',
  (...names) => {
    expect(parse(...names).benchmarks).toEqual(['a', 'c']);
  },
);

it('is short with --quick, and longer where that is asked for too', () => {
  expect(parse('--quick')).toMatchObject({
    runs: 1,
    seconds: 1,
    warmupSeconds: 0,
    inFlight: [8],
    orders: 200,
  });
  expect(parse('--quick', '--seconds', '5', '--in-flight', '1,32')).toMatchObject({
    seconds: 5,
    inFlight: [1, 32],
  });
});

it('takes the ports from the environment, and rather from the option', () => {
  const write = { out: () => undefined, err: () => undefined };
  const env = { FLOTILLA_PORT_BASE: '19000' };
  expect(parseOptions([], write, env).portBase).toBe(19_000);
  expect(parseOptions(['--port-base', '20000'], write, env).portBase).toBe(20_000);
  expect(() => parseOptions([], write, { FLOTILLA_PORT_BASE: 'many' })).toThrow(
    'FLOTILLA_PORT_BASE is "many"; it must be a whole number from 1024 to 65000',
  );
});

it('says what is wrong', () => {
  expect(() => parse('x')).toThrow('There is no benchmark x; there are a, b, c, d, e, f, g');
  expect(() => parse('a,fast')).toThrow('There is no benchmark fast');
  expect(output('--runs', '0')).toContain('It must be a whole number from 1 to 100.');
  expect(output('--seconds', 'soon')).toContain('It must be a number from 0.2 to 3600.');
  expect(output('--in-flight', '1,,2')).toContain('It must be a whole number from 1 to 4096.');
  expect(output('--hurry')).toContain("unknown option '--hurry'");
});

it('tells with --help what there is', () => {
  const help = output('--help');
  expect(help).toContain('c  a saga of four steps over two services');
  expect(help).toContain('--cpu-prof <dir>');
});
