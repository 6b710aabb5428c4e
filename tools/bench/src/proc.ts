import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** A process whose consumption is measured. */
export interface Watched {
  readonly name: string;
  readonly pid: number;
  /** Whether its children count too: the backends of Postgres. */
  readonly withChildren?: boolean;
}

/** Processor time since the start of each process, in milliseconds, by name. */
export interface CpuSample {
  readonly byName: ReadonlyMap<string, number>;
  /** Of those watched with their children: each child by pid, with what it is. */
  readonly children: ReadonlyMap<number, { readonly title: string; readonly ms: number }>;
}

export interface ProcStat {
  readonly parent: number;
  /** In the kernel's ticks: the process itself. */
  readonly ownTicks: number;
  /** In the kernel's ticks: its children that have ended and were collected. */
  readonly endedChildrenTicks: number;
}

let ticksPerSecond: number | undefined;

/** Whether this system tells what processes consume (Linux does). */
export function canMeasureProcesses(): boolean {
  return statOf(process.pid) !== undefined;
}

/** Reads the text of `/proc/<pid>/stat`; the program's name, in parentheses, may hold anything. */
export function parseStat(text: string): ProcStat {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const field = (at: number): number => {
    const value = Number(fields[at]);
    if (!Number.isFinite(value)) throw new TypeError(`This is no /proc/<pid>/stat: ${text.slice(0, 80)}`);
    return value;
  };
  return {
    parent: field(1),
    ownTicks: field(11) + field(12),
    endedChildrenTicks: field(13) + field(14),
  };
}

/** What the processes have consumed so far. One that has ended counts as 0: see {@link cpuBetween}. */
export function sampleCpu(watched: readonly Watched[]): CpuSample {
  const byName = new Map<string, number>();
  const children = new Map<number, { title: string; ms: number }>();
  const parents = new Map(
    watched.filter(({ withChildren }) => withChildren === true).map((each) => [each.pid, each]),
  );
  const add = (name: string, ticks: number): void => {
    byName.set(name, (byName.get(name) ?? 0) + toMs(ticks));
  };
  for (const { name, pid } of watched) {
    const stat = statOf(pid);
    add(name, stat === undefined ? 0 : stat.ownTicks + stat.endedChildrenTicks);
  }
  if (parents.size > 0) {
    for (const pid of allPids()) {
      const stat = statOf(pid);
      const parent = stat && parents.get(stat.parent);
      if (stat === undefined || parent === undefined) continue;
      add(parent.name, stat.ownTicks + stat.endedChildrenTicks);
      children.set(pid, { title: titleOf(pid), ms: toMs(stat.ownTicks) });
    }
  }
  return { byName, children };
}

/** Processor time between two samples, in milliseconds, by name; a process that was replaced counts from its start. */
export function cpuBetween(before: CpuSample, after: CpuSample): Record<string, number> {
  return Object.fromEntries(
    [...after.byName].map(([name, ms]) => {
      const earlier = before.byName.get(name) ?? 0;
      return [name, ms >= earlier ? ms - earlier : ms];
    }),
  );
}

/** The same for the children, by what they are: `postgres: orders`, `postgres: walwriter`. */
export function childrenBetween(before: CpuSample, after: CpuSample): Record<string, number> {
  const byTitle: Record<string, number> = {};
  for (const [pid, { title, ms }] of after.children) {
    byTitle[title] = (byTitle[title] ?? 0) + ms - (before.children.get(pid)?.ms ?? 0);
  }
  return byTitle;
}

/** What a process keeps in memory, in bytes. */
export interface Memory {
  readonly rssBytes: number;
  /** Its own pages and its share of those that it shares; undefined where the system does not let us look. */
  readonly pssBytes: number | undefined;
}

/** Memory of the processes by name, children included where they are watched. */
export function sampleMemory(watched: readonly Watched[]): Record<string, Memory> {
  const result: Record<string, Memory> = {};
  for (const { name, pid, withChildren } of watched) {
    const family = [pid, ...(withChildren === true ? childrenOf(pid) : [])].flatMap(memoryOf);
    result[name] = {
      rssBytes: family.reduce((sum, { rssBytes }) => sum + rssBytes, 0),
      pssBytes: family.some(({ pssBytes }) => pssBytes === undefined)
        ? undefined
        : family.reduce((sum, { pssBytes }) => sum + (pssBytes ?? 0), 0),
    };
  }
  return result;
}

/** What a Postgres process is, from its title: its database, or its task. */
export function postgresTitle(commandLine: string): string {
  const title = commandLine.replaceAll('\0', ' ').trim();
  const match = /^postgres: (?:flotilla: )?(.+)$/.exec(title);
  if (match?.[1] === undefined) return title.split(' ')[0] ?? title;
  const backend = /^(\S+) (\S+) [\d.:a-f]+\(\d+\)/.exec(match[1]);
  if (backend?.[2] !== undefined) return `postgres: ${backend[2]}`;
  return `postgres: ${match[1].replace(/ \d+$/, '').trim()}`;
}

function childrenOf(pid: number): number[] {
  return allPids().filter((each) => statOf(each)?.parent === pid);
}

function allPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

function statOf(pid: number): ProcStat | undefined {
  const text = readProc(pid, 'stat');
  return text === undefined ? undefined : parseStat(text);
}

function titleOf(pid: number): string {
  return postgresTitle(readProc(pid, 'cmdline') ?? '');
}

/** None of a process that has ended meanwhile, as workers of Postgres do at any time. */
function memoryOf(pid: number): Memory[] {
  const kilobytes = (file: string, key: string): number | undefined => {
    const value = new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(readProc(pid, file) ?? '')?.[1];
    return value === undefined ? undefined : Number(value) * 1_024;
  };
  const pssBytes = kilobytes('smaps_rollup', 'Pss');
  const rssBytes = kilobytes('status', 'VmRSS');
  return rssBytes === undefined ? [] : [{ rssBytes, pssBytes }];
}

/** Undefined on another system, when the process has just ended, and where we may not look. */
function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return undefined;
  }
}

function toMs(ticks: number): number {
  ticksPerSecond ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  return (ticks * 1_000) / ticksPerSecond;
}
