import type { ServiceManifest } from '@flotilla/contracts-protocol';
import { errorMessage } from '@flotilla/kernel';
import { UnknownMessageError } from '@flotilla/messaging';
import type { UnitOfWork } from '@flotilla/persistence';
import { Logger } from '@nestjs/common';
import type { HandleEvent } from '../inbound/durable-consumers.ts';
import { aboutOrder } from '../inbound/handling.ts';
import type { Projection } from './projection.ts';
import { ProjectionWriter } from './projection-writer.ts';
import { ViewRows, writeRows } from './view-rows.ts';

/** The projections of a service: each takes the events of the reaction that has its name. */
export class Projections {
  /** The reactions of the manifest whose events go to projections. */
  readonly reactions: ReadonlySet<string>;
  readonly #logger = new Logger(Projections.name);
  readonly #projections: readonly Projection[];
  readonly #unitOfWork: UnitOfWork;
  readonly #writers = new Map<string, ProjectionWriter>();
  readonly #listeners = new Map<string, ((rows: ViewRows) => void)[]>();

  constructor(projections: readonly Projection[], unitOfWork: UnitOfWork) {
    this.#projections = projections;
    this.#unitOfWork = unitOfWork;
    this.reactions = new Set(projections.map(({ name }) => name));
    for (const projection of projections) {
      const listeners: ((rows: ViewRows) => void)[] = [];
      this.#listeners.set(projection.name, listeners);
      const written = (rows: ViewRows): void => listeners.forEach((listener) => this.#tell(listener, rows));
      this.#writers.set(projection.name, new ProjectionWriter(projection, unitOfWork, written));
    }
  }

  /** The events are written, whatever a listener makes of it. */
  #tell(listener: (rows: ViewRows) => void, rows: ViewRows): void {
    try {
      listener(rows);
    } catch (error) {
      this.#logger.error({ msg: `A listener to a projection failed: ${errorMessage(error)}`, err: error });
    }
  }

  /** Has `listener` called, in this process, after each commit of the projection with what was written. */
  onWritten({ name }: Projection, listener: (rows: ViewRows) => void): void {
    this.#listeners.get(name)?.push(listener);
  }

  /** What the projections take and the manifest does not list, and the other way about; a line each. */
  mismatches(manifest: ServiceManifest): string[] {
    const problems: string[] = [];
    const owners = new Map<string, string>();
    for (const { name, events, tables } of this.#projections) {
      for (const table of tables) {
        const owner = owners.get(table.name);
        if (owner !== undefined)
          problems.push(`projections ${owner} and ${name} both keep table ${table.name}`);
        owners.set(table.name, name);
      }
      const listed = manifest.reacts[name];
      if (listed === undefined) {
        problems.push(`projection ${name} is not listed in reacts`);
        continue;
      }
      const taken = new Set(events.map(({ contract }) => contract.type));
      for (const { contract } of listed.events) {
        if (!taken.delete(contract.type))
          problems.push(`reacts.${name} lists ${contract.type}, which the projection does not take`);
      }
      for (const type of taken) problems.push(`projection ${name} takes ${type}, which is not listed there`);
    }
    if (this.reactions.size < this.#projections.length) problems.push('two projections have the same name');
    return problems;
  }

  /** Writes what an event says of its view into the current unit of work, by itself: for a rehearsal. */
  async writeHere(reaction: string, type: string, payload: unknown): Promise<void> {
    const projection = this.#projections.find(({ name }) => name === reaction);
    const projected = projection?.project(type, payload);
    if (projection === undefined || projected === undefined) throw new UnknownMessageError(type, reaction);
    await writeRows(
      (sql, parameters) => this.#unitOfWork.query(sql, parameters),
      projection.tables,
      new ViewRows().add(projected.rows),
    );
  }

  /** Takes the events of a reaction; resolves when the view is committed with it. */
  handlerOf(reaction: string): HandleEvent {
    const projection = this.#projections.find(({ name }) => name === reaction);
    const writer = this.#writers.get(reaction);
    if (projection === undefined || writer === undefined) throw new UnknownMessageError(reaction, reaction);
    return async (message) => {
      const { type } = message.envelope;
      const projected = projection.project(type, message.json());
      if (projected === undefined) throw new UnknownMessageError(type, reaction);
      await aboutOrder(projected.event, () => writer.write(projected.rows));
      // Whether it changed anything is the view's affair.
      return { duplicate: false };
    };
  }
}
