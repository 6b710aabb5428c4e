import { ManualClock } from '@flotilla/testing';
import { EventLoopLag, HealthRegistry } from './health.ts';

describe('HealthRegistry', () => {
  it('lists indicators, refuses a name twice, and removes', () => {
    const health = new HealthRegistry();
    const remove = health.register({ name: 'database', check: () => undefined });
    expect(() => health.register({ name: 'database', check: () => undefined })).toThrow(
      'A health indicator "database" is registered already',
    );
    remove();
    const second = { name: 'database', check: () => undefined };
    health.register(second);
    remove();
    expect(health.indicators()).toEqual([second]);
  });

  it('drains once and keeps the first reason', () => {
    const health = new HealthRegistry();
    expect(health.draining).toBeUndefined();
    health.drain('SIGTERM');
    health.drain('again');
    expect(health.draining).toBe('SIGTERM');
  });
});

describe('EventLoopLag', () => {
  /** A clock whose timers fire late by `lateMs`. */
  class LateClock extends ManualClock {
    lateMs = 0;
    override after(delayMs: number, action: () => void) {
      return super.after(delayMs + this.lateMs, action);
    }
  }

  it('reports a loop that stays late, not one that was late once', async () => {
    const clock = new LateClock();
    const lag = new EventLoopLag(clock);
    lag.start();
    lag.start();
    await clock.advance(2_000);
    expect(lag.lagMs).toBe(0);
    clock.lateMs = 3_000;
    await clock.advance(3_500);
    expect(lag.lagMs).toBe(0);
    await clock.advance(14_000);
    expect(lag.lagMs).toBe(3_000);
    lag.stop();
    expect(clock.pending).toBe(0);
  });
});
