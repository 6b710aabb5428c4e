import { errorCode } from '@flotilla/kernel';
import type { KillSwitchOptions } from '@flotilla/messaging';
import type { ChassisConfig } from '../config/chassis-settings.ts';

/** Faults of the handler, although trying the same message again does not help. */
const HANDLER_FAULTS: ReadonlySet<string> = new Set(['INVALID_REPLY']);

/** When the consumers of a service pause themselves, by its settings. */
export function killSwitchOf(
  config: Pick<
    ChassisConfig,
    'killSwitchFailures' | 'killSwitchWindowMs' | 'killSwitchProbeInitialMs' | 'killSwitchProbeMaxMs'
  >,
): KillSwitchOptions | false {
  if (config.killSwitchFailures === 0) return false;
  return {
    failures: config.killSwitchFailures,
    windowMs: config.killSwitchWindowMs,
    probeInitialMs: Math.min(config.killSwitchProbeInitialMs, config.killSwitchProbeMaxMs),
    probeMaxMs: config.killSwitchProbeMaxMs,
    isMessageFault,
  };
}

/** Refusals, messages that cannot be read or are not known, ids that are used twice: the handler is not to blame. */
function isMessageFault(error: unknown): boolean {
  if (HANDLER_FAULTS.has(errorCode(error))) return false;
  return typeof error === 'object' && error !== null && 'retry' in error && error.retry === 'never';
}
