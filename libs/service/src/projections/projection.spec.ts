import { defineCommand, defineEvent, defineService } from '@flotilla/contracts-protocol';
import { decodeMessage } from '@flotilla/messaging';
import type { UnitOfWork } from '@flotilla/persistence';
import { Logger } from '@nestjs/common';
import { z } from 'zod';
import { defineProjection, on, viewOf } from './projection.ts';
import { Projections } from './projections.ts';
import { key, once, viewTable } from './view-table.ts';

const fact = z.object({ id: z.string(), what: z.string() });
const ofThing = {
  owner: 'things',
  version: 1,
  payload: fact,
  aggregate: ({ id }: z.output<typeof fact>) => id,
} as const;
class ThingMade extends defineEvent({ ...ofThing, name: 'ThingMade' }) {}
class ThingUsed extends defineEvent({ ...ofThing, name: 'ThingUsed' }) {}
class MakeThing extends defineCommand({ owner: 'things', name: 'MakeThing', version: 1, payload: fact }) {}

const things = viewTable<{ id: string; made?: string; used?: string }>('things', {
  id: key('text'),
  made: once('text'),
  used: once('text'),
});
const others = viewTable<{ id: string }>('others', { id: key('text') });
const thingView = defineProjection('thing-view', {
  version: 1,
  tables: [things],
  on: [
    on(ThingMade, ({ payload: { id, what } }) => [things.row({ id, made: what })]),
    on(ThingUsed, ({ payload: { id, what } }) => [things.row({ id, used: what })]),
  ],
});

describe('a projection', () => {
  it('makes a view of events, without a server', () => {
    const view = viewOf(thingView, [
      new ThingUsed({ id: 'a', what: 'late' }),
      new ThingMade({ id: 'a', what: 'first' }),
      new ThingMade({ id: 'b', what: 'other' }),
    ]);
    expect(view.of(things)).toEqual([
      { id: 'a', made: 'first', used: 'late' },
      { id: 'b', made: 'other' },
    ]);
  });

  it('does not know other events, and refuses a payload that is not valid', () => {
    expect(thingView.project('things.ThingSold.v1', {})).toBeUndefined();
    expect(() => thingView.project('things.ThingMade.v1', { id: 1 })).toThrow(/things.ThingMade.v1/);
  });

  it('writes to its own tables only', () => {
    const stray = defineProjection('stray', {
      version: 1,
      tables: [things],
      on: [on(ThingMade, ({ payload: { id } }) => [others.row({ id })])],
    });
    expect(() => stray.project('things.ThingMade.v1', { id: 'a', what: '' })).toThrow(
      'things.ThingMade.v1 writes to others, which is not among its tables',
    );
  });

  it('that cannot work is refused with all reasons', () => {
    expect(() => defineProjection('Thing View', { version: 0, tables: [], on: [] })).toThrow(
      /must be kebab-case\n- version must be a whole number from 1, not 0\n- it keeps no table\n- it takes no event/,
    );
    expect(() =>
      defineProjection('x', {
        version: 1,
        tables: [things],
        on: [on(ThingMade, () => []), on(ThingMade, () => []), on(MakeThing, () => [])],
      }),
    ).toThrow(/things.ThingMade.v1 is taken twice\n- things.MakeThing.v1 is a command/);
  });
});

describe('the projections of a service', () => {
  const unitOfWork = {} as UnitOfWork;
  const mismatches = (reacts: Parameters<typeof defineService>[0]['reacts'], projections = [thingView]) =>
    new Projections(projections, unitOfWork).mismatches(
      defineService({ name: 'reader', ...(reacts && { reacts }) }),
    );

  it('fit the manifest when each has the reaction of its name', () => {
    expect(mismatches({ 'thing-view': { events: [ThingMade, ThingUsed] } })).toEqual([]);
  });

  it('write an event although a listener fails', async () => {
    Logger.overrideLogger(false);
    const run = <T>(work: () => Promise<T>): Promise<T> => work();
    const projections = new Projections([thingView], {
      run,
      query: () => Promise.resolve([]),
    } as unknown as UnitOfWork);
    const heard: number[] = [];
    projections.onWritten(thingView, () => {
      throw new Error('deaf');
    });
    projections.onWritten(thingView, (rows) => heard.push(rows.size));
    const message = decodeMessage(
      'evt.things.ThingMade.v1.1.a',
      { 'ce-id': 'm', 'ce-type': 'things.ThingMade.v1' },
      new TextEncoder().encode(JSON.stringify({ id: 'a', what: 'first' })),
    );
    await projections.handlerOf('thing-view')(message);
    expect(heard).toEqual([1]);
  });

  it('say what does not fit', () => {
    expect(mismatches({})).toEqual(['projection thing-view is not listed in reacts']);
    const used = defineProjection('used-view', {
      version: 1,
      tables: [things],
      on: [on(ThingUsed, () => [])],
    });
    expect(
      mismatches({ 'thing-view': { events: [ThingMade] }, 'used-view': { events: [ThingMade] } }, [
        thingView,
        used,
      ]),
    ).toEqual([
      'projection thing-view takes things.ThingUsed.v1, which is not listed there',
      'projections thing-view and used-view both keep table things',
      'reacts.used-view lists things.ThingMade.v1, which the projection does not take',
      'projection used-view takes things.ThingUsed.v1, which is not listed there',
    ]);
  });
});
