import { BusinessError } from '@flotilla/contracts-protocol';
import type { TestDatabase } from '@flotilla/testing';
import type { DataSource } from 'typeorm';
import { currentUnitOfWork, rehearse, requireUnitOfWork, type UnitOfWork } from '../src/index.ts';
import { message, Opened } from './database.ts';

describe('a rehearsal', () => {
  let opened: Opened;
  let database: TestDatabase;
  let dataSource: DataSource;
  let unitOfWork: UnitOfWork;

  beforeEach(async () => {
    opened = new Opened();
    database = await opened.database();
    await opened.admin(database, async (admin) => {
      await admin.query(`
        CREATE TABLE books (id int PRIMARY KEY, title text NOT NULL, token text);
        CREATE TABLE loans (book int REFERENCES books (id) DEFERRABLE INITIALLY DEFERRED, reader text);
        CREATE SCHEMA attic; CREATE TABLE attic.boxes (room text, no int, PRIMARY KEY (room, no), full_ boolean);
        INSERT INTO books VALUES (1, 'Emma', 't'), (2, 'Persuasion', 't'), (3, 'Sanditon', 't');
        INSERT INTO attic.boxes VALUES ('left', 1, false);
        GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC; GRANT ALL ON SCHEMA attic TO PUBLIC;
        GRANT ALL ON ALL TABLES IN SCHEMA attic TO PUBLIC`);
    });
    ({ unitOfWork, dataSource } = await opened.unitOfWork(database.url));
  });
  afterEach(() => opened.close());

  const query = (sql: string, parameters: unknown[] = []): Promise<unknown[]> =>
    requireUnitOfWork('the test').query(sql, parameters);
  const books = () =>
    unitOfWork.query<{ id: number; title: string }>('SELECT id, title FROM books ORDER BY id');
  const before = [
    { id: 1, title: 'Emma' },
    { id: 2, title: 'Persuasion' },
    { id: 3, title: 'Sanditon' },
  ];

  it('tells what would change, row by row, what would be sent and done after, and does none of it', async () => {
    let after = 0;
    const rehearsal = await rehearse(dataSource, async () => {
      await query(`INSERT INTO books VALUES (4, 'Lady Susan', 's')`);
      await unitOfWork.run(() => query(`UPDATE books SET title = 'Anne' WHERE id = 2`));
      await query('DELETE FROM books WHERE id = 3');
      await query(`UPDATE attic.boxes SET full_ = true`);
      currentUnitOfWork()?.send(message('k', { body: '{"n":1}' }));
      currentUnitOfWork()?.afterCommit(() => after++);
      return 'done';
    });
    expect(rehearsal).toMatchObject({
      outcome: { result: 'done' },
      messages: [{ key: 'k', body: '{"n":1}' }],
      afterCommit: 1,
    });
    expect(rehearsal.tables).toEqual([
      {
        table: 'attic.boxes',
        inserted: 0,
        updated: 1,
        deleted: 0,
        rows: [
          { before: { room: 'left', no: 1, full_: false }, after: { room: 'left', no: 1, full_: true } },
        ],
      },
      {
        table: 'books',
        inserted: 1,
        updated: 1,
        deleted: 1,
        rows: expect.arrayContaining([
          { before: null, after: { id: 4, title: 'Lady Susan', token: 's' } },
          {
            before: { id: 2, title: 'Persuasion', token: 't' },
            after: { id: 2, title: 'Anne', token: 't' },
          },
          { before: { id: 3, title: 'Sanditon', token: 't' }, after: null },
        ]) as unknown[],
      },
    ]);
    expect(await books()).toEqual(before);
    expect(await unitOfWork.query('SELECT 1 FROM outbox')).toEqual([]);
    expect(after).toBe(0);
  });

  it('tells rows that are gone from those that were updated, or only locked', async () => {
    const { tables } = await rehearse(dataSource, async () => {
      await query('SELECT * FROM books WHERE id = 1 FOR UPDATE');
      await query(`UPDATE books SET title = 'Anne' WHERE id = 2`);
      await query('DELETE FROM books WHERE id = 3');
    });
    expect(tables).toHaveLength(1);
    expect(tables[0]).not.toHaveProperty('notShown');
    expect(tables[0]?.rows).toEqual([
      { before: { id: 2, title: 'Persuasion', token: 't' }, after: { id: 2, title: 'Anne', token: 't' } },
      { before: { id: 3, title: 'Sanditon', token: 't' }, after: null },
    ]);
  });

  it('tells rows that are gone of a table without a key, unless others of it were updated', async () => {
    await unitOfWork.run(() => query(`INSERT INTO loans VALUES (1, 'Ann'), (1, 'Ann'), (2, 'Bob')`));
    const lend = (...statements: string[]) =>
      rehearse(dataSource, async () => {
        for (const statement of statements) await query(statement);
      });
    const { tables } = await lend('SELECT * FROM loans FOR SHARE', 'DELETE FROM loans WHERE book = 1');
    expect(tables).toEqual([
      {
        table: 'loans',
        inserted: 0,
        updated: 0,
        deleted: 2,
        rows: Array.from({ length: 2 }, () => ({ before: { book: 1, reader: 'Ann' }, after: null })),
      },
    ]);
    const both = await lend('DELETE FROM loans WHERE book = 1', `UPDATE loans SET reader = 'Cy'`);
    expect(both.tables).toMatchObject([
      {
        updated: 1,
        deleted: 2,
        rows: [{ after: { book: 2, reader: 'Cy' } }],
        notShown: expect.stringContaining('without a primary key') as string,
      },
    ]);
  });

  it('says so when it cannot show what is gone', async () => {
    const many = await rehearse(dataSource, () => query('DELETE FROM books'), { rowsPerTable: 2 });
    expect(many.tables).toMatchObject([{ deleted: 3, notShown: 'only the first 2 that are gone are shown' }]);
    expect(many.tables[0]?.rows).toHaveLength(2);
    const fleeting = await rehearse(dataSource, async () => {
      await query(`INSERT INTO books VALUES (4, 'Lady Susan', 's')`);
      await query('DELETE FROM books WHERE id = 4');
    });
    expect(fleeting.tables).toMatchObject([
      { inserted: 1, deleted: 1, rows: [], notShown: expect.stringContaining('inserted before') as string },
    ]);
  });

  it('counts only its own, whatever its connection did before', async () => {
    const one = await opened.dataSource({ url: database.url, poolSize: 2 });
    await rehearse(one, () => query(`INSERT INTO books VALUES (9, 'x', 'x')`));
    const { tables } = await rehearse(one, () => query(`UPDATE books SET title = 'y' WHERE id = 1`));
    expect(tables).toMatchObject([{ table: 'books', inserted: 0, updated: 1, deleted: 0 }]);
  });

  it('tells why a work fails, also what only the commit would have found', async () => {
    const failure = async (work: () => Promise<unknown>) => (await rehearse(dataSource, work)).outcome;
    expect(await failure(() => Promise.reject(new Error('no ink')))).toMatchObject({
      error: { message: 'no ink' },
    });
    expect(await failure(() => query(`INSERT INTO loans VALUES (77, 'Ann')`))).toMatchObject({
      error: { code: '23503' },
    });
    expect(await failure(() => query('COMMIT'))).toMatchObject({
      error: { code: 'TRANSACTION_CONTROL_IN_UNIT_OF_WORK' },
    });
    expect(await books()).toEqual(before);
  });

  it('keeps of a refusal what it would answer, and nothing that it had changed', async () => {
    const refused = new BusinessError('test.Lend.v1', 'OnLoan', {});
    const work = async (): Promise<void> => {
      await query(`UPDATE books SET title = 'gone'`);
      currentUnitOfWork()?.send(message('never'));
      throw refused;
    };
    expect(await rehearse(dataSource, work)).toMatchObject({ outcome: { refusal: refused }, messages: [] });
    const onRefusal = (): void => currentUnitOfWork()?.send(message('answer'));
    expect(await rehearse(dataSource, work, { onRefusal })).toMatchObject({
      outcome: { refusal: refused },
      messages: [{ key: 'answer' }],
      tables: [],
    });
  });

  it('is cut off when it takes too long, in the database or not, and gives its connection back', async () => {
    const one = await opened.dataSource({ url: database.url, poolSize: 2 });
    const hanging: (() => Promise<unknown>)[] = [
      () => query('SELECT pg_sleep(60)'),
      () => new Promise<void>(() => undefined),
    ];
    for (const work of hanging) {
      const { outcome } = await rehearse(one, work, { withinMs: 300 });
      expect(outcome).toHaveProperty('error');
    }
    const { outcome } = await rehearse(one, () => query('SELECT 1 AS one'));
    expect(outcome).toEqual({ result: [{ one: 1 }] });
  });

  it('does not wait for long for what others hold', async () => {
    await opened.admin(database, async (admin) => {
      await admin.query('BEGIN; UPDATE books SET title = title WHERE id = 1');
      const { outcome } = await rehearse(dataSource, () =>
        query(`UPDATE books SET title = 'x' WHERE id = 1`),
      );
      expect(outcome).toMatchObject({ error: { code: '55P03' } });
      await admin.query('ROLLBACK');
    });
  });

  it('shows no more rows than it is asked for', async () => {
    const { tables } = await rehearse(dataSource, () => query(`UPDATE books SET title = 'x'`), {
      rowsPerTable: 2,
    });
    expect(tables).toMatchObject([{ updated: 3, notShown: 'only the first 2 are shown' }]);
    expect(tables[0]?.rows).toHaveLength(2);
  });
});
