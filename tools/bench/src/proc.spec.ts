import {
  canMeasureProcesses,
  childrenBetween,
  cpuBetween,
  parseStat,
  postgresTitle,
  sampleCpu,
  sampleMemory,
} from './proc.ts';

it('reads the kernel’s line, whatever the program is called', () => {
  const line =
    '4242 (a (b) c) S 17 4242 4242 0 -1 4194304 100 200 0 0 1500 250 30 20 20 0 11 0 1000 2000 300 184467';
  expect(parseStat(line)).toEqual({ parent: 17, ownTicks: 1_750, endedChildrenTicks: 50 });
  expect(() => parseStat('nonsense')).toThrow('This is no /proc/<pid>/stat: nonsense');
});

it.each([
  ['postgres: flotilla: orders orders 127.0.0.1(53422) idle\0', 'postgres: orders'],
  ['postgres: flotilla: bench-owner bench-owner 127.0.0.1(41) INSERT', 'postgres: bench-owner'],
  ['postgres: flotilla: walwriter ', 'postgres: walwriter'],
  ['postgres: flotilla: io worker 2', 'postgres: io worker'],
  ['/opt/postgres\0-D\0/data', '/opt/postgres'],
])('tells what a Postgres process is by its title: %j', (commandLine, title) => {
  expect(postgresTitle(commandLine)).toBe(title);
});

it('subtracts samples by name, and takes a process that was replaced from its start', () => {
  const sample = (values: Record<string, number>) => ({
    byName: new Map(Object.entries(values)),
    children: new Map(),
  });
  expect(cpuBetween(sample({ a: 100, b: 500 }), sample({ a: 150, b: 40, c: 7 }))).toEqual({
    a: 50,
    b: 40,
    c: 7,
  });
});

it('adds children up by what they are', () => {
  const children = (...of: [number, string, number][]) => ({
    byName: new Map<string, number>(),
    children: new Map(of.map(([pid, title, ms]) => [pid, { title, ms }])),
  });
  const before = children([1, 'postgres: orders', 100]);
  const after = children(
    [1, 'postgres: orders', 130],
    [2, 'postgres: orders', 5],
    [3, 'postgres: walwriter', 1],
  );
  expect(childrenBetween(before, after)).toEqual({ 'postgres: orders': 35, 'postgres: walwriter': 1 });
});

(canMeasureProcesses() ? it : it.skip)('samples this process', () => {
  const watched = [{ name: 'me', pid: process.pid, withChildren: true }];
  expect(sampleCpu(watched).byName.get('me')).toBeGreaterThan(0);
  expect(sampleMemory(watched)['me']?.rssBytes).toBeGreaterThan(1_000_000);
});
