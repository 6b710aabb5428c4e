import { currentProcess, type Simulation } from '@flotilla/testing/simulation';
import type { Faults } from './world-faults.ts';

/** What the payments service asks its provider for; see `PaymentProvider` there. */
type Operation = 'authorise' | 'capture' | 'void' | 'refund' | 'lookup' | 'cancel';
type Ask = (request: unknown, signal: AbortSignal) => Promise<unknown>;

/**
 * The sandbox provider behind an unreliable network: it fails before it has done anything, or does what it was asked for
 * and its answer is lost, or comes after the caller has given up.
 */
export function faultyProvider<P extends object>(provider: P, simulation: Simulation, faults: Faults): P {
  const ask = async (
    operation: Operation,
    call: Ask,
    request: unknown,
    signal: AbortSignal,
  ): Promise<unknown> => {
    await simulation.latency(2, 30, `provider: ${operation}`);
    if (faults.happens('providerRefuses')) throw new Error('the simulated provider is not there');
    // Whoever gives up waiting does not take the request back.
    const late = faults.happens('providerLate');
    if (late) {
      await Promise.race([simulation.takes(4_000, `provider: late ${operation}`), aborted(signal)]).catch(
        (error: unknown) => {
          // What arrives late is done late, and nobody hears of it.
          void simulation
            .takes(1_500)
            .then(() => call(request, new AbortController().signal))
            .catch(() => undefined);
          throw error;
        },
      );
    }
    const answer = await call(request, signal);
    await simulation.latency(2, 30, `provider: answer to ${operation}`);
    if (faults.happens('providerForgets')) {
      simulation.tell(`provider: the answer to ${operation} is lost`);
      throw new Error('the connection to the simulated provider broke');
    }
    return answer;
  };
  return new Proxy(provider, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      const call = (value as (...all: unknown[]) => unknown).bind(target);
      if (!isOperation(name)) return call;
      return (request: unknown, signal: AbortSignal) =>
        currentProcess() === undefined ? call(request, signal) : ask(name, call as Ask, request, signal);
    },
  });
}

function isOperation(name: string | symbol): name is Operation {
  return ['authorise', 'capture', 'void', 'refund', 'lookup', 'cancel'].includes(String(name));
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = (): void => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}
