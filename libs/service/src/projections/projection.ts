import type { AnyMessage, AnyMessageClass } from '@flotilla/contracts-protocol';
import { ProjectionDefinitionError } from './projections.errors.ts';
import { ViewRows } from './view-rows.ts';
import type { ViewRow, ViewTable } from './view-table.ts';

/** How one kind of event changes a view. */
export interface Projecting {
  readonly type: AnyMessageClass;
  readonly project: (event: AnyMessage) => readonly ViewRow[];
}

/** What an event says of the view: pure, from the event alone. */
export function on<M extends AnyMessageClass>(
  type: M,
  project: (event: InstanceType<M>) => readonly ViewRow[],
): Projecting {
  return { type, project: project as Projecting['project'] };
}

export interface ProjectionSpec {
  /** Counts changes of the logic after which the view has to be built again (`fleet <service> rebuild`); 1 at first. */
  readonly version: number;
  /** The tables it keeps, alone; in the order in which they are written. */
  readonly tables: readonly ViewTable[];
  readonly on: readonly Projecting[];
  /**
   * The table with one row for each event of an aggregate, and its column with the aggregate's version, which counts
   * from 1: by it a rebuild finds aggregates whose first events are no longer anywhere.
   */
  readonly history?: ProjectionHistory;
}

export interface ProjectionHistory {
  readonly table: ViewTable;
  readonly column: string;
}

/** A view as code: which events it takes, and what each says of its tables. */
export interface Projection {
  /** Also the name of the reaction, in the manifest, that brings its events. */
  readonly name: string;
  readonly version: number;
  readonly tables: readonly ViewTable[];
  readonly events: readonly AnyMessageClass[];
  readonly history: ProjectionHistory | undefined;
  /** The event of a contract type, projected; undefined for a type that it does not take. Throws on an invalid payload. */
  project(type: string, payload: unknown): { event: AnyMessage; rows: readonly ViewRow[] } | undefined;
}

/** Declares a projection; throws {@link ProjectionDefinitionError} with everything that cannot work. */
export function defineProjection(name: string, spec: ProjectionSpec): Projection {
  const problems: string[] = [];
  if (!/^[a-z][a-z0-9-]*$/.test(name)) problems.push(`the name "${name}" must be kebab-case`);
  if (!Number.isInteger(spec.version) || spec.version < 1) {
    problems.push(`version must be a whole number from 1, not ${spec.version}`);
  }
  if (spec.tables.length === 0) problems.push('it keeps no table');
  if (spec.on.length === 0) problems.push('it takes no event');
  const { history } = spec;
  if (history !== undefined && !spec.tables.includes(history.table)) {
    problems.push(`its history ${history.table.name} is not among its tables`);
  } else if (history !== undefined && !history.table.keys.includes(history.column)) {
    problems.push(`its history's column "${history.column}" is no key() of ${history.table.name}`);
  }
  const byType = new Map<string, Projecting>();
  for (const projecting of spec.on) {
    const { kind, type } = projecting.type.contract;
    if (kind !== 'event') problems.push(`${type} is a ${kind}`);
    if (byType.has(type)) problems.push(`${type} is taken twice`);
    byType.set(type, projecting);
  }
  if (problems.length > 0) throw new ProjectionDefinitionError(`projection ${name}`, problems);

  const { tables } = spec;
  const own = new Set(tables);
  return {
    name,
    version: spec.version,
    tables,
    events: spec.on.map(({ type }) => type),
    history,
    project(type, payload) {
      const projecting = byType.get(type);
      if (projecting === undefined) return undefined;
      const event = new projecting.type(payload as never);
      const rows = projecting.project(event);
      const foreign = rows.find(({ table }) => !own.has(table));
      if (foreign !== undefined) {
        throw new ProjectionDefinitionError(`projection ${name}`, [
          `${type} writes to ${foreign.table.name}, which is not among its tables`,
        ]);
      }
      return { event, rows };
    },
  };
}

/** The view that events make, without a database: for tests, and for a look at what an event would say. */
export function viewOf(projection: Projection, events: readonly AnyMessage[]): ViewRows {
  const rows = new ViewRows();
  for (const event of events) {
    const { contract } = event.constructor as AnyMessageClass;
    rows.add(projection.project(contract.type, event.payload)?.rows ?? []);
  }
  return rows;
}
