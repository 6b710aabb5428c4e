import { defineCommand } from '@flotilla/contracts-protocol';
import { command, defineSaga } from '@flotilla/saga';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { declaredSagas, type DeclaredSaga } from './saga-definitions.ts';
import { checkDiagrams, withDiagrams } from './saga-diagrams.ts';

class Pay extends defineCommand({ owner: 'till', name: 'Pay', version: 1, payload: z.object({}) }) {}

const sale = (version: number): DeclaredSaga =>
  defineSaga<object>({ name: 'sale', version }, [
    command('pay', Pay, { send: () => ({}) }),
  ]) as unknown as DeclaredSaga;

const place = (name: string, content = ''): string =>
  `<!-- saga:${name} -->\n${content}<!-- /saga:${name} -->`;

describe('the drawings of sagas in documents', () => {
  it('are put between their marks, the newest version, and then stay as they are', () => {
    const text = `# Till\n\n${place('sale', 'old\n')}\n\nMore.\n`;
    const { result, names } = withDiagrams(text, [sale(1), sale(2)]);
    expect(names).toEqual(['sale']);
    expect(result).toContain('```mermaid\nflowchart TD\n  start(["sale v2"])');
    expect(result).not.toContain('old');
    expect(result.startsWith('# Till\n\n<!-- saga:sale -->\n')).toBe(true);
    expect(result.endsWith('<!-- /saga:sale -->\n\nMore.\n')).toBe(true);
    expect(withDiagrams(result, [sale(1), sale(2)]).result).toBe(result);
  });

  it('are found in the documents, reported where they are stale, and written when asked', () => {
    const root = mkdtempSync(join(tmpdir(), 'saga-diagrams-'));
    try {
      const readme = join(root, 'apps/till/README.md');
      mkdirSync(join(root, 'apps/till'), { recursive: true });
      writeFileSync(readme, `${place('sale')}\n${place('gone')}\n`);
      const stale = {
        stale: ['apps/till/README.md'],
        problems: ['apps/till/README.md draws saga "gone", which no service declares'],
        undrawn: [],
      };
      expect(checkDiagrams([sale(1)], { root, write: false })).toEqual(stale);
      expect(readFileSync(readme, 'utf8')).not.toContain('mermaid');
      expect(checkDiagrams([sale(1)], { root, write: true })).toEqual(stale);
      expect(checkDiagrams([sale(1)], { root, write: false }).stale).toEqual([]);
      expect(checkDiagrams([], { root, write: false }).undrawn).toEqual([]);
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  it('can be made of what the services declare', async () => {
    expect((await declaredSagas()).map(({ name }) => name)).toContain('fulfilment');
  });
});
