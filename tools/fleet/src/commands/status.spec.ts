import { problemsIn } from './status.ts';

describe('what a service complains about', () => {
  it('is a line for each indicator that is not up', () => {
    const answer = {
      status: 'degraded',
      details: {
        database: { status: 'up' },
        consumers: { status: 'degraded', message: 'consumer orders is paused' },
        accepting: { status: 'down', message: 'draining: shutting down' },
        odd: { status: 'down' },
      },
    };
    expect(problemsIn(answer)).toEqual([
      'consumers degraded: consumer orders is paused',
      'accepting down: draining: shutting down',
      'odd down',
    ]);
  });

  it.each([[undefined], [null], [{}], [{ details: {} }]])('is nothing in %j', (answer) => {
    expect(problemsIn(answer)).toEqual([]);
  });
});
