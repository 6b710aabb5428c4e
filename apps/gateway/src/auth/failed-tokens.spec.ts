import { ManualClock } from '@flotilla/testing';
import { callerAddress, FailedTokens } from './failed-tokens.ts';

describe('FailedTokens', () => {
  const start = () => {
    const clock = new ManualClock();
    return { clock, failed: new FailedTokens({ rateLimitMax: 3, rateLimitWindowMs: 1_000 }, clock) };
  };

  it('blocks an address after as many bad tokens as it may make requests, until the window has passed', async () => {
    const { clock, failed } = start();
    for (let n = 0; n < 3; n++) {
      expect(failed.blockedForMs('a')).toBe(0);
      failed.noteFailure('a');
    }
    expect(failed.blockedForMs('a')).toBe(1_000);
    expect(failed.blockedForMs('b')).toBe(0);
    await clock.advance(999);
    expect(failed.blockedForMs('a')).toBe(1);
    await clock.advance(1);
    expect(failed.blockedForMs('a')).toBe(0);
    failed.noteFailure('a');
    expect(failed.blockedForMs('a')).toBe(0);
  });

  it('remembers a bounded number of addresses, and forgets the oldest first', () => {
    const { failed } = start();
    const fail = (address: string) => [1, 2, 3].forEach(() => failed.noteFailure(address));
    for (let n = 0; n <= 10_000; n++) fail(`address ${n}`);
    expect(failed.blockedForMs('address 0')).toBe(0);
    expect(failed.blockedForMs('address 1')).toBe(1_000);
    expect(failed.blockedForMs('address 10000')).toBe(1_000);
  });
});

it.each([
  ['192.0.2.7', '192.0.2.7'],
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::9', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
])('%s counts as %s', (ip, caller) => expect(callerAddress(ip)).toBe(caller));
