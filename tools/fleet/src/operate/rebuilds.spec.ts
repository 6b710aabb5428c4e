import { differenceLines, endedWell, isUnderWay, rebuildLine, type RebuildFacts } from './rebuilds.ts';

const facts = (more: Partial<RebuildFacts> = {}): RebuildFacts => ({
  projection: 'order-view',
  id: '1',
  version: 2,
  status: 'reading',
  options: { dryRun: false, accept: 'none', keepOld: false },
  cursors: {},
  events: 12,
  skipped: [],
  report: null,
  problem: null,
  startedAt: '2026-01-01T00:00:00Z',
  endedAt: null,
  ...more,
});

describe('the rebuild of a view', () => {
  it('is told in a line', () => {
    expect(rebuildLine(facts())).toBe('order-view v2: reading, 12 events read');
    const report = {
      rows: 7,
      missing: 1,
      added: 2,
      changed: 3,
      headless: 0,
      carriedOver: 4,
      differences: [],
    };
    const skipped = [{ messageId: 'm', type: 't', error: 'e' }];
    expect(rebuildLine(facts({ status: 'mismatch', report, skipped, problem: 'look at them' }))).toBe(
      'order-view v2: mismatch, 12 events read; 7 rows compared: 3 changed, 1 missing, 2 new, 4 taken over from before; ' +
        '1 events skipped\n  look at them',
    );
  });

  it('tells each difference', () => {
    const difference = (kind: string, live: unknown, shadow: unknown) => ({
      table: 'order_views',
      key: { order_id: 'a' },
      kind,
      live,
      shadow,
    });
    const report = {
      rows: 3,
      missing: 1,
      added: 1,
      changed: 1,
      headless: 0,
      carriedOver: 0,
      differences: [
        difference('changed', { order_id: 'a', status: 'x', n: 1 }, { order_id: 'a', status: 'y', n: 1 }),
        difference('missing', {}, null),
        difference('added', null, {}),
      ],
    };
    expect(differenceLines(facts({ report }))).toEqual([
      '  order_views {"order_id":"a"}: status "x" -> "y"',
      '  order_views {"order_id":"a"}: only in the live view',
      '  order_views {"order_id":"a"}: only in the rebuilt one',
    ]);
  });

  it.each([
    ['reading', true, false],
    ['swapping', true, false],
    ['swapped', false, true],
    ['compared', false, true],
    ['mismatch', false, false],
    ['incomplete', false, false],
    ['aborted', false, false],
  ])('that is %s is under way: %s, has ended well: %s', (status, underWay, well) => {
    expect([isUnderWay(facts({ status })), endedWell(facts({ status }))]).toEqual([underWay, well]);
  });
});
