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
          'bench',
          'contracts',
          'dlq',
          'down',
          'import',
          'logs',
          'migrate',
          'provision',
          'saga',
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
