import type { Tampering } from '../world/service-process.ts';

const KEYED: ReadonlySet<string | symbol> = new Set(['authorise', 'capture', 'void', 'refund']);

export const paymentsWithoutKeys: Tampering = {
  part: (token, part) => {
    if (typeof token !== 'function' || token.name !== 'PaymentProvider') return part;
    return new Proxy(part as object, {
      get(target, name) {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        const call = (value as (...all: unknown[]) => unknown).bind(target);
        if (!KEYED.has(name)) return call;
        return (request: { readonly key: string }, signal: AbortSignal) =>
          call({ ...request, key: `${request.key}:${Math.random()}` }, signal);
      },
    });
  },
};
