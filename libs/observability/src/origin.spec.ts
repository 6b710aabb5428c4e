import { continueFrom, currentContext, currentOrigin, runWithContext, traceHeaders } from './index.ts';

describe('an origin', () => {
  it('is nothing where nothing caused the running code', () => {
    expect(currentOrigin()).toBeUndefined();
    expect(continueFrom(undefined, 'later', () => currentContext())).toBeUndefined();
  });

  it('survives being stored, and brings correlation and trace back', () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const stored = JSON.stringify({
      ...runWithContext({ correlationId: 'c-1', messageId: 'm-1' }, () => currentOrigin()),
      traceparent,
    });
    const seen = continueFrom(JSON.parse(stored) as { correlationId: string }, 'later', () => ({
      correlationId: currentContext()?.correlationId,
      messageId: currentContext()?.messageId,
      trace: traceHeaders().traceparent,
    }));
    expect(seen.correlationId).toBe('c-1');
    // What is done later is not the handling of that message any more.
    expect(seen.messageId).toBeUndefined();
    expect(seen.trace).toContain('0af7651916cd43dd8448eb211c80319c');
  });
});
