import { buildProgram } from './program.ts';
import { table } from './terminal.ts';
import { maskSecrets } from './operate/mask-secrets.ts';

const silent = { print: () => undefined, note: () => undefined, progress: () => undefined };

describe('the fleet command', () => {
  it('has the documented commands, each with its own help', () => {
    const program = buildProgram({ terminal: silent });
    const names = program.commands.map((command) => command.name());
    expect(names.sort()).toEqual(
      [
        ...[
          'auth',
          'bench',
          'config',
          'consumer',
          'contracts',
          'dlq',
          'down',
          'import',
          'logs',
          'migrate',
          'nats-config',
          'operator',
          'provision',
          'repair',
          'saga',
          'schedule',
          'secrets',
          'serve',
          'status',
          'tracking',
          'up',
        ],
        'verify',
      ].sort(),
    );
    for (const command of program.commands) expect(command.description()).not.toBe('');
  });

  it.each([
    [['saga', 'retry'], 'Say which saga'],
    [['saga', 'retry', 'o-1', '--all-parked'], 'Say which saga'],
    [['saga', 'diagram', 'nonsense'], 'There is no saga nonsense. There are: '],
    [['saga', 'diagram', '--write', '--check'], 'not both'],
  ])('%j is refused with what to do instead', async (argv, message) => {
    const program = buildProgram({ terminal: silent });
    await expect(program.parseAsync(argv, { from: 'user' })).rejects.toThrow(message);
  });

  it('draws the sagas of the services', async () => {
    const printed: string[] = [];
    const program = buildProgram({ terminal: { ...silent, print: (text) => void printed.push(text) } });
    await program.parseAsync(['saga', 'diagram', 'fulfilment'], { from: 'user' });
    expect(printed.join()).toMatch(/^flowchart TD\n {2}start\(\["fulfilment v/);
  });

  it('aligns columns, numbers to the right', () => {
    expect(
      table(
        ['name', 'count'],
        [
          ['a', '10'],
          ['bcd', '9'],
        ],
      ),
    ).toBe('name  count\na        10\nbcd       9');
  });

  it('shows no secrets of a saga', () => {
    expect(maskSecrets({ paymentToken: 'tok_ok', list: [{ password: 'x', n: 1 }], token: null })).toEqual({
      paymentToken: '***',
      list: [{ password: '***', n: 1 }],
      token: null,
    });
  });
});
