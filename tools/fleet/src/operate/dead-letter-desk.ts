import { problemsOf, type Contract } from '@flotilla/contracts-protocol';
import { errorMessage, FlotillaError } from '@flotilla/kernel';
import {
  AuditTrail,
  DeadLetterNotFoundError,
  DeadLetters,
  type AuditEntry,
  type AuditFilter,
  type DeadLetter,
  type DeadLetterFilter,
  type DeadLetterGroup,
  type ListDeadLettersOptions,
  type PublishReceipt,
  type ReplayManyReport,
} from '@flotilla/messaging';
import type { DryRunReport } from '@flotilla/service';
import type { NatsConnection } from '@nats-io/nats-core';
import { UsageError } from '../fleet.errors.ts';
import { askOver } from './ask-owner.ts';
import { withChanges, type Change } from './set-path.ts';

/** Who acts, and from where. */
export interface Operator {
  readonly by: string;
  readonly via: 'cli' | 'api';
}

/** What is to be in a dead letter from now on. */
export type Repair = { readonly body: string } | { readonly changes: readonly Change[] };

export interface ReplayRequest extends DeadLetterFilter {
  readonly perSecond?: number;
  readonly limit?: number;
  readonly reason?: string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (replayed: number) => void;
}

/** A replay of many: where it stands. */
export interface ReplayJob extends ReplayManyReport {
  /** By which it can be gone on with. */
  readonly job: string;
  /** What has died later is none of its business. */
  readonly upTo: number;
}

/** Thrown when a replay is to be gone on with and there is none. Code `NO_REPLAY_TO_RESUME`. */
export class NoReplayToResumeError extends FlotillaError {
  constructor(job: string | undefined) {
    super(
      'NO_REPLAY_TO_RESUME',
      `There is no replay${job === undefined ? '' : ` ${job}`} that was not ended: "fleet dlq history --action replay-begun" shows them`,
      { retry: 'never' },
    );
  }
}

const AREA = 'dead-letters';
/** A request takes 1 MiB; in JSON a body may be longer than it is. */
const DRY_RUN_BYTES = 500_000;
const DROP_LIMIT = 10_000;

/**
 * All that can be done to dead letters, for the command line and for other programs. Every act is recorded before it is
 * carried out; bodies are recorded as they were, so whoever shows the record masks them.
 */
export class DeadLetterDesk {
  readonly #connection: NatsConnection;
  readonly #operator: Operator;
  readonly #contracts: () => Promise<ReadonlyMap<string, Contract>>;
  readonly #letters: DeadLetters;
  readonly #audit: AuditTrail;

  constructor(
    connection: NatsConnection,
    operator: Operator,
    contracts: () => Promise<ReadonlyMap<string, Contract>>,
  ) {
    this.#connection = connection;
    this.#operator = operator;
    this.#contracts = contracts;
    this.#letters = new DeadLetters(connection);
    this.#audit = new AuditTrail(connection);
  }

  async list(
    options: ListDeadLettersOptions,
  ): Promise<{ readonly letters: DeadLetter[]; readonly total: number }> {
    const [letters, total] = await Promise.all([
      this.#letters.list(options),
      this.#letters.count(options.service),
    ]);
    return { letters, total };
  }

  groups(filter: DeadLetterFilter): Promise<{
    readonly groups: DeadLetterGroup[];
    readonly letters: number;
    readonly complete: boolean;
  }> {
    return this.#letters.groups(filter);
  }

  show(sequence: number): Promise<DeadLetter> {
    return this.#letters.get(sequence);
  }

  /** Makes a new version of a dead letter, which stays one; what it was is in the record. Checked by its contract. */
  async edit(sequence: number, repair: Repair, force = false): Promise<DeadLetter> {
    const letter = await this.#letters.get(sequence);
    const before = textOf(letter);
    const body = 'body' in repair ? repair.body : JSON.stringify(withChanges(jsonOf(before), repair.changes));
    await this.#assertFits(letter, body, force);
    await this.#record('edit', letter, undefined, {
      version: letter.version,
      before: parsed(before),
      after: parsed(body),
      ...(force && { forced: true }),
    });
    return this.#letters.edit(sequence, body);
  }

  /** Has the service whose consumer failed rehearse the message. */
  async dryRun(sequence: number): Promise<DryRunReport> {
    const letter = await this.#letters.get(sequence);
    const { service, consumer, originalSubject: subject, headers, body } = letter;
    if (body.length > DRY_RUN_BYTES) {
      return {
        possible: false,
        why: `its body has ${body.length} bytes, and one that is to be rehearsed has ${DRY_RUN_BYTES} at most`,
      };
    }
    const { 'ce-dataref': _ref, 'ce-datasize': _size, 'ce-datachunks': _chunks, ...rest } = headers;
    const report = (await askOver(this.#connection, service, {
      subject: `ops.${service}.dry-run`,
      type: 'ops.dead-letters.dry-run',
      about: letter.messageId ?? String(sequence),
      what: `Dry run of dead letter ${sequence}`,
      body: { consumer, subject, headers: rest, body: textOf(letter) },
    })) as DryRunReport;
    const outcome = report.possible ? report.outcome : 'impossible';
    await this.#record('dry-run', letter, undefined, { outcome });
    return report;
  }

  /** Sends one back to the consumer that failed. */
  async replay(sequence: number, reason?: string): Promise<PublishReceipt> {
    await this.#record('replay', await this.#letters.get(sequence), reason, {});
    return this.#letters.replay(sequence);
  }

  /** Sends back all that are meant, throttled; goes on where it was stopped when it is called again with its job. */
  async replayMany(request: ReplayRequest): Promise<ReplayJob> {
    const { reason, service, group, after } = request;
    const upTo = request.upTo ?? (await this.#letters.lastSequence());
    const filter = { ...(service !== undefined && { service }), ...(group !== undefined && { group }) };
    const job = await this.#audit.record({
      ...this.#operator,
      area: AREA,
      action: 'replay-begun',
      target: targetOf(filter),
      ...(reason !== undefined && { reason }),
      detail: { ...filter, upTo, ...(after !== undefined && { after }) },
    });
    return this.#carryOn(job, { ...request, upTo });
  }

  /** Goes on with a replay that was not ended: the one named, or the latest. */
  async resume(
    job: string | undefined,
    request: Omit<ReplayRequest, keyof DeadLetterFilter>,
  ): Promise<ReplayJob> {
    const ended = new Set(
      (await this.#audit.list({ area: AREA, action: 'replay-ended', limit: 1_000 }))
        .filter(({ detail }) => detail['stopped'] === undefined)
        .map(({ detail }) => detail['job']),
    );
    const begun = await this.#audit.list({ area: AREA, action: 'replay-begun', limit: 1_000 });
    const found = begun.find(({ id }) => !ended.has(id) && (job === undefined || id === job));
    if (found === undefined) throw new NoReplayToResumeError(job);
    const { service, group, upTo } = found.detail as DeadLetterFilter;
    return this.#carryOn(found.id, {
      ...request,
      upTo: upTo ?? 0,
      ...(service !== undefined && { service }),
      ...(group !== undefined && { group }),
    });
  }

  /** Removes one for good; what it was is in the record. */
  async drop(sequence: number, reason: string): Promise<DeadLetter> {
    const letter = await this.#letters.get(sequence);
    await this.#recordDrop(letter, reason);
    return this.#letters.drop(sequence, reason);
  }

  /** Removes all that are meant, those that are there now; says how many. */
  async dropMany(filter: DeadLetterFilter, reason: string, limit = DROP_LIMIT): Promise<number> {
    const upTo = filter.upTo ?? (await this.#letters.lastSequence());
    let dropped = 0;
    for await (const letter of this.#letters.each({ ...filter, upTo })) {
      if (dropped === limit) break;
      await this.#recordDrop(letter, reason);
      try {
        await this.#letters.drop(letter.sequence, reason);
      } catch (error) {
        // Somebody else was faster.
        if (error instanceof DeadLetterNotFoundError) continue;
        throw error;
      }
      dropped++;
    }
    return dropped;
  }

  /** What was done to dead letters, the latest first. */
  history(filter: Omit<AuditFilter, 'area'>): Promise<AuditEntry[]> {
    return this.#audit.list({ ...filter, area: AREA });
  }

  async #carryOn(job: string, request: ReplayRequest & { readonly upTo: number }): Promise<ReplayJob> {
    const { perSecond, limit, reason, signal, onProgress, ...filter } = request;
    const ended = (report: object): Promise<string> =>
      this.#audit.record({
        ...this.#operator,
        area: AREA,
        action: 'replay-ended',
        target: targetOf(filter),
        detail: { job, ...report },
      });
    try {
      const report = await this.#letters.replayMany(filter, {
        ...(perSecond !== undefined && { perSecond }),
        ...(limit !== undefined && { limit }),
        ...(signal && { signal }),
        ...(onProgress && { onProgress }),
        before: (letter) => this.#record('replay', letter, reason, { job }),
      });
      await ended(report);
      return { job, upTo: request.upTo, ...report };
    } catch (error) {
      // Without its end it can be gone on with; why it stopped is good to know.
      await ended({ stopped: 'failure', error: errorMessage(error) }).catch(() => undefined);
      throw error;
    }
  }

  #recordDrop(letter: DeadLetter, reason: string): Promise<void> {
    const { body: _body, ...facts } = letter;
    return this.#record('drop', letter, reason, { before: { ...facts, body: parsed(textOf(letter)) } });
  }

  async #record(
    action: string,
    letter: DeadLetter,
    reason: string | undefined,
    detail: Readonly<Record<string, unknown>>,
  ): Promise<void> {
    const { sequence, group, service, consumer, type, messageId, subject } = letter;
    await this.#audit.record({
      ...this.#operator,
      area: AREA,
      action,
      target: `${service}/${consumer} ${messageId ?? 'without id'}`,
      ...(reason !== undefined && { reason }),
      detail: { letter: sequence, group, type, messageId, subject, ...detail },
    });
  }

  /** Refuses a body that its handler could not read either. */
  async #assertFits(
    { type, originalSubject, headers }: DeadLetter,
    body: string,
    force: boolean,
  ): Promise<void> {
    const payload = jsonOf(body);
    if (force) return;
    const contract = type === undefined ? undefined : (await this.#contracts()).get(type);
    const isAnswer = originalSubject.startsWith('reply.');
    const schema = isAnswer && headers['ce-outcome'] === 'ok' ? contract?.reply : contract?.payload;
    if (schema === undefined || (isAnswer && headers['ce-outcome'] !== 'ok'))
      throw new UsageError(
        `No contract says what the body of ${type ?? 'it'} may be: --force changes it all the same`,
      );
    const result = schema.safeParse(payload);
    if (result.success) return;
    const problems = problemsOf(result.error).map(({ path, message }) => `  - ${path}: ${message}`);
    throw new UsageError(
      `The new body does not fit ${type}; --force changes it all the same:\n${problems.join('\n')}`,
    );
  }
}

/** The body of a dead letter as text. */
export function textOf({ body }: DeadLetter): string {
  return new TextDecoder().decode(body);
}

/** JSON, or the text where it is none: that may be why it died. */
export function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new UsageError(`The body is no JSON: ${(cause as Error).message}`);
  }
}

function targetOf({ service, group }: DeadLetterFilter): string {
  if (group !== undefined) return `group ${group}`;
  return service === undefined ? 'all' : `all of ${service}`;
}
