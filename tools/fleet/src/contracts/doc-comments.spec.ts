import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contractComments } from './doc-comments.ts';

describe('the comments of contracts', () => {
  let root: string;

  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'flotilla-comments-'));
    const write = (file: string, text: string): void => {
      const path = join(root, 'libs/contracts', file);
      mkdirSync(join(path, '..'), { recursive: true });
      writeFileSync(path, text);
    };
    write('money/src/index.ts', `export { money as cash } from './money.ts';`);
    write(
      'money/src/money.ts',
      `/** A code. */
      const code = z.string();
      /** An amount. */
      export const money = z.object({ amountMinor: z.int(), code });`,
    );
    write(
      'till/src/commands.ts',
      `import { cash } from '@flotilla/contracts-money';
      import { line } from './line.ts';
      const byId = { owner: 'till', version: 1 } as const;

      /** Takes money,
       * see {@link Paid}. */
      export class Pay extends defineCommand({
        ...byId,
        name: 'Pay',
        payload: z.object({
          /** What to pay. */
          amount: cash.refine(() => true),
          other: cash.optional(),
          lines: z.array(line).min(1),
          plain: z.string(),
        }),
        reply: line.extend({
          /** How many are left. */
          left: z.int(),
        }),
        errors: {
          /** Nothing is left. */
          Broke: z.object({
            /** The code. */
            code: z.string(),
          }),
          Plain: z.object({}),
        },
      }) {}

      export class Silent extends defineEvent({ ...byId, name: 'Silent', payload: unknownThing }) {}
      export class Other extends Something {}`,
    );
    write(
      'till/src/line.ts',
      `/** One line. */
      export const line = z.object({
        /** The code. */
        sku: z.string(),
      });`,
    );
    write('till/src/line.spec.ts', 'this is no code');
  });

  afterAll(() => {
    rmSync(root, { recursive: true, force: true });
  });

  it('are found through constants, imports and the methods of zod', () => {
    expect(contractComments(root).get('till.Pay.v1')).toEqual({
      text: 'Takes money, see Paid.',
      payload: {
        fields: {
          amount: { text: 'What to pay.', fields: { amountMinor: {}, code: { text: 'A code.' } } },
          other: { text: 'An amount.', fields: { amountMinor: {}, code: { text: 'A code.' } } },
          lines: { items: { text: 'One line.', fields: { sku: { text: 'The code.' } } } },
          plain: {},
        },
      },
      reply: { fields: { sku: { text: 'The code.' }, left: { text: 'How many are left.' } } },
      errors: {
        Broke: { text: 'Nothing is left.', fields: { code: { text: 'The code.' } } },
        Plain: { fields: {} },
      },
    });
  });

  it('are none where nothing is written or nothing can be followed', () => {
    const comments = contractComments(root);
    expect([...comments.keys()]).toEqual(['till.Pay.v1', 'till.Silent.v1']);
    expect(comments.get('till.Silent.v1')).toEqual({ payload: {}, reply: {}, errors: {} });
  });
});
