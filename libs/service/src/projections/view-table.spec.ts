import { ViewRows } from './view-rows.ts';
import { greatest, key, newest, once, version, viewTable, type ViewRow } from './view-table.ts';

interface Row {
  readonly id: string;
  readonly version: number;
  readonly status: string;
  readonly at: string;
  readonly note?: string;
}
const table = viewTable<Row>('things', {
  id: key('uuid'),
  version: version(),
  status: newest('text'),
  at: greatest('timestamptz'),
  note: once('text'),
});
const told: ViewRow[] = [
  table.row({ id: 'a', version: 1, status: 'new', at: '2026-01-01T00:00:01Z' }),
  table.row({ id: 'a', version: 2, status: 'used', at: '2026-01-01T00:00:01.500Z', note: 'n' }),
  table.row({ id: 'a', version: 3, status: 'gone', at: '2026-01-01T00:00:01Z' }),
];

describe('rows of a view', () => {
  it.each([
    [[0, 1, 2]],
    [[0, 2, 1]],
    [[1, 0, 2]],
    [[1, 2, 0]],
    [[2, 0, 1]],
    [[2, 1, 0]],
    [[2, 2, 1, 1, 0, 0, 2]],
  ])('told in the order %j are one and the same', (order) => {
    const rows = new ViewRows();
    for (const index of order) rows.add([told[index] as ViewRow]);
    expect(rows.of(table)).toEqual([
      { id: 'a', version: 3, status: 'gone', at: '2026-01-01T00:00:01.500Z', note: 'n' },
    ]);
  });

  it('are the same merged all at once, and batch by batch', () => {
    const batches = new ViewRows().add(told.slice(0, 1));
    const other = new ViewRows().add(told.slice(1));
    batches.add(other.of(table).map((values) => ({ table, values })));
    expect(batches.of(table)).toEqual(new ViewRows().add(told).of(table));
  });

  it('with other keys are others', () => {
    const entries = viewTable<{ of: string; place: number }>('entries', {
      of: key('text'),
      place: key('integer'),
    });
    const rows = new ViewRows().add([
      entries.row({ of: 'a', place: 1 }),
      entries.row({ of: 'a', place: 11 }),
      entries.row({ of: 'a', place: 1 }),
    ]);
    expect(rows.size).toBe(2);
  });
});

describe('the statement that merges', () => {
  it('says each rule in SQL, locks in the order of the keys, and writes only what is news', () => {
    expect(table.mergeStatement('shadow.things')).toBe(
      [
        'INSERT INTO shadow.things AS known (id, version, status, at, note)',
        'SELECT id, version, status, at, note FROM json_to_recordset($1::json) AS told (id uuid, version integer, status text, at timestamptz, note text)',
        'ORDER BY id',
        'ON CONFLICT (id) DO UPDATE SET version = greatest(known.version, excluded.version), ' +
          'status = CASE WHEN known.version < excluded.version THEN excluded.status ELSE known.status END, ' +
          'at = greatest(known.at, excluded.at), note = coalesce(known.note, excluded.note) ' +
          'WHERE known.version < excluded.version OR known.at IS DISTINCT FROM greatest(known.at, excluded.at) ' +
          'OR (known.note IS NULL AND excluded.note IS NOT NULL)',
      ].join('\n'),
    );
  });

  it('of a table of keys leaves what is there', () => {
    expect(viewTable<{ id: string }>('seen', { id: key('uuid') }).mergeStatement()).toMatch(
      /ON CONFLICT \(id\) DO NOTHING$/,
    );
  });
});

describe('a table that cannot work', () => {
  it('is refused with all reasons', () => {
    expect(() =>
      viewTable<{ statusNow: string; a: number; b: number }>('Things', {
        statusNow: newest('text'),
        a: version(),
        b: version(),
      }),
    ).toThrow(
      /table Things cannot work:\n- "Things" must be .*\n- "statusNow" must be .*\n- it has no key.*\n- it has several version/,
    );
    expect(() =>
      viewTable<{ id: string; status: string }>('things', { id: key('uuid'), status: newest('text') }),
    ).toThrow('status: newest() needs a version() column');
  });
});
