import * as migrateEntry from './migrate.ts';
import * as persistence from './index.ts';
import { resolveOutboxLimits } from './outbox/outbox.options.ts';
import { resolveUnitOfWorkLimits } from './unit-of-work/unit-of-work.options.ts';

it('exports what it is meant to', () => {
  expect(Object.keys(persistence).toSorted()).toMatchSnapshot();
  expect(Object.keys(migrateEntry).toSorted()).toMatchSnapshot();
});

it('names every option that is wrong', () => {
  expect(() => resolveUnitOfWorkLimits({ lanes: 0, maxGroupSize: 1.5 })).toThrow(
    'maxGroupSize is 1.5, expected a whole number of at least 1; lanes is 0, expected a whole number of at least 1',
  );
  expect(() => resolveOutboxLimits({ retentionDays: 9, maxInFlight: -1 })).toThrow(
    /maxInFlight is -1.*inboxRetentionDays \(8\) must be more than retentionDays \(9\)/,
  );
});
