import { isSupported, parseMadison } from './nats-binary.ts';

describe('versions of nats-server', () => {
  it.each([
    ['2.12.7', true],
    ['2.15.1', true],
    ['3.0.0', true],
    ['2.12.10', true],
    ['2.12.7-1', true],
    ['2.14.0-RC.1', true],
    ['2.12.6', false],
    ['2.9.10-1+b3', false],
    ['1.99.99', false],
    ['nonsense', false],
  ])('%s is supported: %s', (version, supported) => {
    expect(isSupported(version)).toBe(supported);
  });

  it('come best first from apt-cache, each once', () => {
    const output = [
      'nats-server | 2.9.10-1+b3 | mirror bookworm/main amd64 Packages',
      'nats-server | 2.12.8-2 | mirror sid/main amd64 Packages',
      'nats-server | 2.12.8-2 | mirror sid/main Sources',
      '',
    ].join('\n');
    expect(parseMadison(output)).toEqual(['2.12.8-2', '2.9.10-1+b3']);
    expect(parseMadison('')).toEqual([]);
  });
});
