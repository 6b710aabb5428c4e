import { BusinessError } from '@flotilla/contracts-protocol';
import { FlotillaError } from '@flotilla/kernel';
import { isOutage } from './outages.ts';

const withCode = (code: string): Error => Object.assign(new Error(code), { code });

describe('an outage', () => {
  it.each(['DATABASE_UNAVAILABLE', 'BROKER_UNAVAILABLE', 'ECONNREFUSED', '57P03', '57P01', '08006', '53300'])(
    'is what %s says',
    (code) => {
      expect(isOutage(withCode(code))).toBe(true);
      expect(isOutage(new FlotillaError('UNIT_OF_WORK_FAILED', 'undone', { cause: withCode(code) }))).toBe(
        true,
      );
    },
  );

  it.each(['UNIT_OF_WORK_FAILED', '23505', '40P01', '57014', 'TypeError', 'INVALID_MESSAGE'])(
    'is not what %s says',
    (code) => expect(isOutage(withCode(code))).toBe(false),
  );

  it('is not a refusal, or something that is no error', () => {
    expect(isOutage(new BusinessError('x.Y.v1', 'No', {}))).toBe(false);
    expect([undefined, null, 'text', 7].map(isOutage)).toEqual([false, false, false, false]);
  });
});
