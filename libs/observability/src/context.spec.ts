import { context, createContextKey, ROOT_CONTEXT } from '@opentelemetry/api';
import { isUuid } from '@flotilla/kernel';
import { currentContext, FrameContextManager, runWithContext } from './context.ts';
import { traceHeaders, withSpan } from './tracing.ts';

describe('runWithContext', () => {
  it('carries the context through awaits, timers and promises, and leaves none outside', async () => {
    const seen = await runWithContext({ correlationId: 'c-1', messageId: 'm-1' }, async () => {
      await new Promise((resolve) => setImmediate(resolve));
      return currentContext();
    });
    expect(seen).toEqual({ correlationId: 'c-1', messageId: 'm-1' });
    expect(currentContext()).toBeUndefined();
  });

  it('lays the patch over the current context; undefined keeps what is there', () => {
    runWithContext({ correlationId: 'c-1', deadline: 5, type: 'orders.PlaceOrder.v1' }, () =>
      runWithContext({ messageId: 'm-2', orderId: 'o-1', deadline: undefined }, () => {
        expect(currentContext()).toEqual({
          correlationId: 'c-1',
          messageId: 'm-2',
          orderId: 'o-1',
          type: 'orders.PlaceOrder.v1',
          deadline: 5,
        });
      }),
    );
  });

  it('makes a correlation id where there is none', () => {
    runWithContext({ messageId: 'm-1' }, () =>
      expect(isUuid(currentContext()?.correlationId ?? '')).toBe(true),
    );
  });

  it('keeps concurrent work apart', async () => {
    const ids = await Promise.all(
      ['a', 'b', 'c'].map((correlationId) =>
        runWithContext({ correlationId }, async () => {
          await Promise.resolve();
          return currentContext()?.correlationId;
        }),
      ),
    );
    expect(ids).toEqual(['a', 'b', 'c']);
  });

  it('keeps the trace when the message changes, and the message when the trace changes', () => {
    withSpan('outer', {}, () => {
      const outer = traceHeaders();
      runWithContext({ correlationId: 'c-1' }, () => {
        expect(traceHeaders()).toEqual(outer);
        withSpan('border', { parent: {} }, () => expect(currentContext()?.correlationId).toBe('c-1'));
      });
    });
  });
});

describe('FrameContextManager', () => {
  const key = createContextKey('test');
  beforeAll(() => context.setGlobalContextManager(new FrameContextManager()));
  afterAll(() => context.disable());

  it('gives libraries on the OpenTelemetry API the same context, with this and arguments', () => {
    const target = {
      value: 2,
      add(other: number) {
        return this.value + other + Number(context.active().getValue(key));
      },
    };
    runWithContext({ correlationId: 'c-1' }, () => {
      const active = ROOT_CONTEXT.setValue(key, 10);
      expect(context.with(active, (a: number) => target.add(a), undefined, 3)).toBe(15);
      const bound = context.bind(active, () => [
        context.active().getValue(key),
        currentContext()?.correlationId,
      ]);
      expect(bound()).toEqual([10, 'c-1']);
    });
    expect(context.active()).toBe(ROOT_CONTEXT);
    expect(context.bind(ROOT_CONTEXT, target)).toBe(target);
  });
});
