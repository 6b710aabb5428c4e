import { formatDurationMs, systemClock } from '@flotilla/kernel';
import { adviceOn } from '../reconcile/divergence.ts';
import { withSurvey } from '../reconcile/open-survey.ts';
import { Watch, type Round, type WatchEvent } from '../reconcile/watch.ts';
import type { Terminal } from '../terminal.ts';
import { dirOf, type DataOption } from './shared.ts';

export interface WatchFleetOptions extends DataOption {
  readonly interval: number;
  readonly grace: number;
  readonly rounds?: number;
  readonly json?: boolean;
}

/** `fleet verify --watch`: a line for each divergence that stays, and for each that is gone. */
export async function watchFleet(options: WatchFleetOptions, terminal: Terminal): Promise<void> {
  const { interval, grace, rounds, json = false } = options;
  const stop = new AbortController();
  const end = (): void => stop.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  try {
    await withSurvey(dirOf(options), async (survey) => {
      const watch = new Watch(survey, { graceMs: grace, clock: systemClock });
      for (let counted = 0; !stop.signal.aborted;) {
        const round = await watch.round();
        for (const event of round.events) terminal.print(json ? jsonLine(event) : textLine(event));
        if (json) terminal.print(JSON.stringify({ at: now(), event: 'round', ...withoutEvents(round) }));
        else terminal.progress(roundLine(round));
        if (round.complete) counted += 1;
        if (rounds !== undefined && counted >= rounds) {
          if (round.open > 0 || round.problems.length > 0) process.exitCode = 1;
          return;
        }
        await systemClock.sleep(interval, stop.signal);
      }
    });
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, end);
  }
}

const now = (): string => new Date().toISOString();

function withoutEvents({ events: _, ...rest }: Round): Omit<Round, 'events'> {
  return rest;
}

function jsonLine({ event, divergence, sinceMs }: WatchEvent): string {
  return JSON.stringify({
    at: now(),
    event,
    sinceMs: Math.round(sinceMs),
    ...divergence,
    ...(event === 'diverges' && { advice: adviceOn(divergence) }),
  });
}

function textLine({ event, divergence, sinceMs }: WatchEvent): string {
  const { kind, aggregate, what } = divergence;
  const since = formatDurationMs(Math.round(sinceMs));
  const line = `${now()}  ${event === 'gone' ? 'gone    ' : 'DIVERGES'}  ${kind}  ${aggregate}: ${what} (${since})`;
  return event === 'gone' ? line : `${line}\n    -> ${adviceOn(divergence)}`;
}

function roundLine({ looked, open, young, complete, problems }: Round): string {
  const first = complete ? '' : ', not all looked at yet';
  const trouble = problems.length === 0 ? '' : `; could not look at ${problems.join('; ')}`;
  return `${looked} messages compared: ${open} diverge, ${young} may be on their way${first}${trouble}`;
}
