import { eventStream } from '@flotilla/contracts-protocol';
import { errorMessage, type Clock } from '@flotilla/kernel';
import {
  decodeMessage,
  type IncomingMessage,
  type StreamReader,
  type StreamState,
} from '@flotilla/messaging';
import { Logger, type OnApplicationBootstrap } from '@nestjs/common';
import type { DataSource } from 'typeorm';
import { isOutage } from '../../inbound/outages.ts';
import type { Jobs } from '../../jobs.ts';
import type { Projection } from '../projection.ts';
import { ViewRows } from '../view-rows.ts';
import type { ViewRow } from '../view-table.ts';
import type { HistoryClient } from './history.ts';
import { RebuildRefusedError } from './rebuild.errors.ts';
import {
  ACTIVE,
  type Cursor,
  type Rebuild,
  type RebuildOptions,
  type RebuildReport,
  type Skipped,
} from './rebuild-state.ts';
import { RebuildStore } from './rebuild-store.ts';
import { Shadow } from './shadow.ts';
import type { Query } from './transaction.ts';

export interface RebuildsParts {
  readonly projections: readonly Projection[];
  readonly dataSource: DataSource;
  readonly streams: StreamReader;
  readonly history: HistoryClient;
  readonly jobs: Jobs;
  readonly clock: Clock;
}

const JOB = 'projection-rebuilds';
/** How soon another replica takes over from one that died. */
const EVERY_MS = 15_000;
const PAGE = 1_000;
/** So many events are named when they are skipped. */
const MAX_SKIPPED = 100;
/** Rows that differ are looked at again so often, because live and shadow do not get an event in the same moment. */
const LOOKS = 12;
const LOOK_PAUSE_MS = 250;
/** What comes while the tables are locked is read within this, or the swap gives way and is tried again. */
const CATCH_UP_MS = 3_000;

interface Page {
  readonly messages: readonly IncomingMessage[];
  readonly cursor: Cursor;
  readonly caughtUp: boolean;
}

/** An event on its way into a shadow. */
interface Read {
  readonly message: IncomingMessage;
  readonly rows: readonly ViewRow[];
}

/**
 * Builds views again beside the live ones: reads all events there still are, from the streams and, for what those have
 * lost, from the owners' outboxes; compares; swaps. Live projection and reads go on. Each step is written down, so that
 * another process goes on where one has died.
 */
export class Rebuilds implements OnApplicationBootstrap {
  readonly #parts: RebuildsParts;
  readonly #store: RebuildStore;
  readonly #logger = new Logger('Projections');

  constructor(parts: RebuildsParts) {
    this.#parts = parts;
    this.#store = new RebuildStore(parts.dataSource);
  }

  async onApplicationBootstrap(): Promise<void> {
    for (const { name, version } of this.#parts.projections) {
      const built = await this.#store.builtVersion(name);
      // A view that nobody has built yet begins with the version that is there.
      if (built === undefined) await this.#store.noteBuilt(name, version);
      else if (built !== version) {
        this.#logger.warn(
          `The view "${name}" was built by version ${built} of its projection, and version ${version} runs: ` +
            'build it again with the rebuild command and --accept-changes',
        );
      }
    }
    this.#parts.jobs.register(JOB, { intervalMs: EVERY_MS, run: () => this.#run() });
  }

  /** The latest rebuild of each projection. */
  list(): Promise<Rebuild[]> {
    return this.#store.list();
  }

  /**
   * Begins to rebuild projections, all by default. One that is under way goes on as it is; one that was refused is
   * compared again when the options accept more, and otherwise begins anew.
   */
  async start(names: readonly string[], options: RebuildOptions): Promise<Rebuild[]> {
    const projections = this.#named(names);
    for (const projection of projections) {
      const known = await this.#store.find(projection.name);
      if (known && ACTIVE.includes(known.status)) continue;
      const refused = known?.status === 'mismatch' || known?.status === 'incomplete';
      const more = options.accept !== 'none' || options.keepOld;
      const shadow = new Shadow(this.#parts.dataSource, projection);
      if (refused && more && known.version === projection.version && (await shadow.exists())) {
        await this.#store.reconsider(projection.name, options);
      } else {
        await shadow.create();
        await this.#store.begin(projection.name, projection.version, options);
      }
    }
    this.#parts.jobs.wake(JOB);
    const chosen = new Set(projections.map(({ name }) => name));
    return (await this.list()).filter(({ projection }) => chosen.has(projection));
  }

  /** Ends rebuilds, all by default, and drops their shadows. */
  async abort(names: readonly string[]): Promise<Rebuild[]> {
    for (const projection of this.#named(names)) {
      if (await this.#store.abort(projection.name, 'aborted by an operator'))
        await new Shadow(this.#parts.dataSource, projection).drop();
    }
    return this.list();
  }

  #named(names: readonly string[]): readonly Projection[] {
    const { projections } = this.#parts;
    const unknown = names.filter((name) => !projections.some((each) => each.name === name));
    if (unknown.length > 0) {
      throw new RebuildRefusedError(
        `There is no projection ${unknown.join(', ')}; there are: ${projections.map(({ name }) => name).join(', ')}`,
        'never',
      );
    }
    return names.length === 0 ? projections : projections.filter(({ name }) => names.includes(name));
  }

  /** One step of one rebuild; true: there is more to do. */
  async #run(): Promise<boolean> {
    if (!(await this.#store.anyActive())) return false;
    const rebuild = await this.#store.claim();
    if (rebuild === undefined) return false;
    const projection = this.#parts.projections.find(({ name }) => name === rebuild.projection);
    if (projection?.version !== rebuild.version) {
      const now = projection ? `version ${projection.version} runs` : 'there is no such projection any more';
      await this.#store.save(rebuild, {
        status: 'aborted',
        problem: `It builds version ${rebuild.version}, and ${now}: begin again`,
      });
      return true;
    }
    try {
      if (rebuild.status === 'reading') await this.#read(projection, rebuild);
      else if (rebuild.status === 'comparing') await this.#compare(projection, rebuild);
      else await this.#swap(projection, rebuild);
      return true;
    } catch (error) {
      // It is tried again, with growing pauses; meanwhile whoever watches it is told why.
      await this.#store.save(rebuild, { problem: errorMessage(error) });
      throw error;
    }
  }

  async #read(projection: Projection, rebuild: Rebuild): Promise<void> {
    const shadow = new Shadow(this.#parts.dataSource, projection);
    const cursors: Record<string, Cursor> = { ...rebuild.cursors };
    const skipped = [...rebuild.skipped];
    let { events } = rebuild;
    let caughtUp = true;
    for (const owner of ownersOf(projection)) {
      const step = await this.#readPage(projection, owner, cursors[owner]);
      skipped.push(...(await this.#write(projection, shadow, step.messages)));
      events += step.messages.length;
      cursors[owner] = step.cursor;
      caughtUp &&= step.caughtUp;
    }
    await this.#store.save(rebuild, {
      cursors,
      events,
      skipped: skipped.slice(0, MAX_SKIPPED),
      ...(caughtUp && { status: 'comparing' }),
    });
  }

  /**
   * The next events of an owner. `caughtUp`: they reach to where its stream ended when they were asked for; under load
   * there are more by then.
   */
  async #readPage(projection: Projection, owner: string, cursor: Cursor | undefined): Promise<Page> {
    const { streams, history } = this.#parts;
    const stream = eventStream(owner);
    const state = await streams.streamState(stream);
    if (cursor === undefined || state?.createdAtMs !== cursor.stream?.createdAtMs)
      return { messages: [], cursor: cursorAt(state), caughtUp: false };
    const behind = state === undefined ? 0 : state.lastSequence - cursor.sequence;
    if (cursor.outbox !== undefined && behind < PAGE) {
      // What the stream did not have when it was read from its beginning, its owner is asked for.
      const types = typesOf(projection, owner);
      const page = await history.page(owner, { types, stream: cursor.stream, after: cursor.outbox });
      return {
        messages: page.messages,
        cursor: { ...cursor, outbox: page.next },
        caughtUp: page.next === undefined && behind <= 0,
      };
    }
    if (state === undefined || behind <= 0) return { messages: [], cursor, caughtUp: true };
    const found = await streams.read(stream, cursor.sequence + 1, PAGE);
    const [first] = found;
    const last = found.at(-1);
    if (first === undefined || last === undefined) {
      // Nothing there any more: all of it has become too old since. Else this was a copy that lags behind.
      if (state.firstSequence > state.lastSequence)
        return { messages: [], cursor: { ...cursor, sequence: state.lastSequence }, caughtUp: true };
      throw new RebuildRefusedError(`The copy of ${stream} that answered is behind; it is asked again`);
    }
    const messages = found.map(({ subject, headers, body }) => decodeMessage(subject, headers, body));
    const dropped = first.sequence > cursor.sequence + 1;
    if (dropped && cursor.sequence >= (cursor.stream?.firstSequence ?? 1)) {
      // The stream drops its oldest events faster than they are read.
      return { messages: [], cursor: cursorAt(state), caughtUp: false };
    }
    return {
      messages,
      cursor: {
        ...cursor,
        ...(dropped && cursor.stream && { stream: { ...cursor.stream, firstSequence: first.sequence } }),
        sequence: last.sequence,
      },
      caughtUp: cursor.outbox === undefined && last.sequence >= state.lastSequence,
    };
  }

  /** Writes what the events say of the shadow; returns those of which nothing could be made. */
  async #write(
    projection: Projection,
    shadow: Shadow,
    messages: readonly IncomingMessage[],
    within?: Query,
  ): Promise<Skipped[]> {
    const skipped: Skipped[] = [];
    const read: Read[] = [];
    for (const message of messages) {
      try {
        const projected = projection.project(message.envelope.type, message.json());
        if (projected) read.push({ message, rows: projected.rows });
      } catch (error) {
        skipped.push(skippedBy(message, error));
      }
    }
    const write = async (batch: readonly Read[]): Promise<void> => {
      if (batch.length === 0) return;
      const rows = new ViewRows();
      for (const each of batch) rows.add(each.rows);
      try {
        await shadow.write(rows, within);
      } catch (error) {
        // Within the transaction of a swap a failure ends all of it.
        if (within !== undefined || isOutage(error)) throw error;
        const [only] = batch;
        if (batch.length === 1 && only) skipped.push(skippedBy(only.message, error));
        else {
          const middle = Math.ceil(batch.length / 2);
          await write(batch.slice(0, middle));
          await write(batch.slice(middle));
        }
      }
    };
    await write(read);
    return skipped;
  }

  async #compare(projection: Projection, rebuild: Rebuild): Promise<void> {
    const shadow = new Shadow(this.#parts.dataSource, projection);
    const carriedOver = rebuild.options.keepOld ? await shadow.carryOver() : 0;
    const headless = await shadow.headless();
    let comparison = await shadow.compare();
    const { rows } = comparison;
    let current = rebuild;
    // Live and shadow get an event at different moments: what differs for longer than that, differs.
    for (let look = 1; look < LOOKS && comparison.differences.length > 0; look++) {
      await this.#parts.clock.sleep(LOOK_PAUSE_MS);
      const caughtUp = await this.#catchUp(projection, shadow, current);
      if (caughtUp === undefined) return;
      current = caughtUp;
      const again = await shadow.compare(comparison.differences);
      // Of more than are kept the rest is counted again by looking at all of them.
      const all = comparison.missing + comparison.added + comparison.changed;
      comparison = all > comparison.differences.length ? await shadow.compare() : again;
    }
    const report: RebuildReport = {
      rows,
      missing: comparison.missing,
      added: comparison.added,
      changed: comparison.changed,
      headless,
      carriedOver,
      differences: comparison.differences,
    };
    const refusal = refusalOf(report, current.options);
    if (refusal === undefined && !rebuild.options.dryRun) {
      await this.#store.save(current, { status: 'swapping', report });
      return;
    }
    const dry = rebuild.options.dryRun && refusal === undefined;
    if (dry) await shadow.drop();
    await this.#store.save(current, {
      status: refusal?.status ?? 'compared',
      report,
      ...(refusal && { problem: refusal.problem }),
    });
  }

  /** Reads what has come since; undefined: the rebuild is no longer this process's. */
  async #catchUp(projection: Projection, shadow: Shadow, rebuild: Rebuild): Promise<Rebuild | undefined> {
    const cursors: Record<string, Cursor> = { ...rebuild.cursors };
    const skipped = [...rebuild.skipped];
    let events = rebuild.events;
    for (const owner of ownersOf(projection)) {
      for (let caughtUp = false; !caughtUp;) {
        const step = await this.#readPage(projection, owner, cursors[owner]);
        skipped.push(...(await this.#write(projection, shadow, step.messages)));
        events += step.messages.length;
        cursors[owner] = step.cursor;
        ({ caughtUp } = step);
      }
    }
    const change = { cursors, events, skipped: skipped.slice(0, MAX_SKIPPED) };
    return (await this.#store.save(rebuild, change)) ? { ...rebuild, ...change } : undefined;
  }

  async #swap(projection: Projection, rebuild: Rebuild): Promise<void> {
    const shadow = new Shadow(this.#parts.dataSource, projection);
    // Nearly all of what has come since is read while everybody still works.
    const current = await this.#catchUp(projection, shadow, rebuild);
    if (current === undefined) return;
    const { clock } = this.#parts;
    const untilMs = clock.monotonicMs() + CATCH_UP_MS;
    let swapped = false;
    await shadow.swap(
      async (query) => {
        // Nobody writes the live view now: every event in it is in the streams up to here.
        const ends = new Map<string, StreamState | undefined>();
        for (const owner of ownersOf(projection))
          ends.set(owner, await this.#parts.streams.streamState(eventStream(owner)));
        for (const [owner, end] of ends) {
          let cursor = current.cursors[owner];
          while (end !== undefined && (cursor?.sequence ?? 0) < end.lastSequence) {
            if (clock.monotonicMs() >= untilMs)
              throw new RebuildRefusedError(
                'Events come faster than they are read while the tables are locked',
              );
            const step = await this.#readPage(projection, owner, cursor);
            await this.#write(projection, shadow, step.messages, query);
            cursor = step.cursor;
          }
        }
      },
      async (query) => {
        await this.#store.noteBuiltWithin(query, projection.name, projection.version);
        if (!(await this.#store.saveWithin(query, rebuild, { status: 'swapped' })))
          throw new RebuildRefusedError('The rebuild was aborted meanwhile');
        swapped = true;
      },
    );
    if (swapped)
      this.#logger.log(
        `The view "${projection.name}" was built again from ${current.events} events and has taken the place of the one before`,
      );
  }
}

function ownersOf({ events }: Projection): string[] {
  return [...new Set(events.map(({ contract }) => contract.owner))];
}

function typesOf({ events }: Projection, owner: string): string[] {
  return events.filter(({ contract }) => contract.owner === owner).map(({ contract }) => contract.type);
}

/** The beginning: the stream from its first event, and the whole outbox for what that lacks. */
function cursorAt(stream: StreamState | undefined): Cursor {
  return { stream, outbox: '0', sequence: Math.max(0, (stream?.firstSequence ?? 1) - 1) };
}

function skippedBy({ envelope }: IncomingMessage, error: unknown): Skipped {
  return { messageId: envelope.id, type: envelope.type, error: errorMessage(error) };
}

/** Why a shadow may not take the live view's place. */
function refusalOf(
  { missing, added, changed, headless }: RebuildReport,
  { accept, keepOld }: RebuildOptions,
): { readonly status: 'mismatch' | 'incomplete'; readonly problem: string } | undefined {
  if (accept === 'all') return undefined;
  if (missing > 0 || (headless > 0 && !keepOld)) {
    return {
      status: 'incomplete',
      problem:
        `The history is not complete: ${missing} rows of the live view are missing, ${headless} aggregates have lost their first events. ` +
        'Streams and outboxes no longer have them: --keep-old takes them over from the live view, --accept goes without them',
    };
  }
  if (added + changed > 0 && accept !== 'changes') {
    return {
      status: 'mismatch',
      problem: `${changed} rows differ and ${added} are new: look at them (--json), then --accept-changes if that is what was meant, or --abort`,
    };
  }
  return undefined;
}
