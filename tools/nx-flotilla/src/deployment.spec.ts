import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

// There is a container engine on few machines that run the tests, so the files are checked against the workspace.

const WORKSPACE_ROOT = join(import.meta.dirname, '../../..');
const read = (path: string): string => readFileSync(join(WORKSPACE_ROOT, path), 'utf8');

describe('docker/compose.yaml', () => {
  const compose = read('docker/compose.yaml');
  const services = sections(compose, 'services');

  it('runs the broker, the database, the steps before the services, and every service', () => {
    const apps = globSync('apps/*/src/main.ts', { cwd: WORKSPACE_ROOT }).map(
      (path) => path.split(/[\\/]/)[1] ?? path,
    );
    expect([...services.keys()]).toEqual(
      expect.arrayContaining(['nats', 'postgres', 'provision', 'migrate', ...apps]),
    );
  });

  it('gives every service with a database url the database and the role of its name', () => {
    const created = /FLOTILLA_SERVICES: (.*)/.exec(compose)?.[1]?.split(' ') ?? [];
    const used = [...services].filter(([, body]) => body.includes(' DATABASE_URL:'));
    expect(used.map(([name]) => name).sort()).toEqual([...created].sort());
    for (const [name, body] of used)
      expect(body).toMatch(new RegExp(`//${name}:[^@]+@postgres:5432/${name}\\s`));
  });

  it('migrates each database as the role that owns it, which is not the one that the service runs with', () => {
    const created = /FLOTILLA_SERVICES: (.*)/.exec(compose)?.[1]?.split(' ') ?? [];
    for (const name of created) {
      expect(services.get('migrate')).toMatch(
        new RegExp(
          `_MIGRATOR_DATABASE_URL: postgres://${name}_migrator:\\$\\{\\w+}@postgres:5432/${name}\\s`,
        ),
      );
      for (const role of [name, `${name}_MIGRATOR`])
        expect(services.get('postgres')).toContain(`${role.toUpperCase()}_DB_PASSWORD: $`);
    }
  });

  it('has every service, and the provisioning, log in to the broker as the user that is theirs', () => {
    for (const [name, body] of services) {
      const user = name === 'provision' ? 'provisioner' : name;
      if (!body.includes('<<: *service') && name !== 'provision' && name !== 'operator') continue;
      const variable = `${user.toUpperCase()}_NATS_PASSWORD`;
      expect(body).toContain(`NATS_USER: ${user}\n`);
      expect(body).toContain(`NATS_PASSWORD: \${${variable}:?`);
      expect(services.get('nats')).toContain(`${variable}: \${${variable}:?`);
    }
  });

  it('opens the acts of operators to this machine only, and not without a token', () => {
    const operator = services.get('operator') ?? '';
    const port = /--http, '(\d+)'/.exec(operator)?.[1] ?? '';
    expect(operator).toContain(`ports: ['127.0.0.1:${port}:${port}']`);
    expect(operator).toContain(`http://127.0.0.1:${port}/health/live`);
    expect(operator).toContain('OPERATOR_TOKEN: ${OPERATOR_TOKEN:?');
  });

  it('builds each service from the one Dockerfile, under its own name', () => {
    for (const [name, body] of services) {
      if (body.includes('<<: *service')) expect(body).toContain(`args: { SERVICE: ${name} }`);
    }
  });

  it('mounts files that are there', () => {
    const mounted = [...compose.matchAll(/- \.\/(\S+?):\//g)].map(([, path]) => path ?? '');
    expect(mounted.length).toBeGreaterThan(0);
    for (const path of mounted) expect(existsSync(join(WORKSPACE_ROOT, 'docker', path))).toBe(true);
  });

  it('contains no password', () => {
    const secrets = [...compose.matchAll(/(?:PASSWORD|TOKEN): (.*)/g)].map(([, value]) => value);
    expect(secrets.length).toBeGreaterThan(0);
    for (const value of secrets) expect(value).toMatch(/^\$\{\w+:\?/);
  });
});

describe('docker/Dockerfile', () => {
  const dockerfile = read('docker/Dockerfile');

  it('runs files of this workspace', () => {
    const scripts = [...dockerfile.matchAll(/\b(tools\/[\w/-]+\.ts)/g)].map(([, path]) => path ?? '');
    expect(scripts).toEqual(expect.arrayContaining(['tools/nx-flotilla/src/assemble.ts']));
    for (const path of scripts) expect(existsSync(join(WORKSPACE_ROOT, path))).toBe(true);
  });

  it('copies only from stages that it defines before', () => {
    const defined = new Set<string>();
    for (const line of dockerfile.split('\n')) {
      const from = /^COPY --from=(\S+)/.exec(line)?.[1];
      if (from !== undefined) expect(defined).toContain(from);
      const stage = /^FROM .* AS (\S+)$/.exec(line)?.[1];
      if (stage !== undefined) defined.add(stage);
    }
    expect(defined).toContain('service');
    expect(defined).toContain('fleet');
  });

  it('ends without root, and says whether it is alive', () => {
    const last = dockerfile.slice(dockerfile.lastIndexOf('\nFROM '));
    expect(last).toMatch(/^USER node$/m);
    expect(last).toMatch(/HEALTHCHECK[^]*\/health\/live/);
  });
});

it('docker/nats/nats.conf acknowledges a publish only when it is on the disk', () => {
  expect(read('docker/nats/nats.conf')).toMatch(/^\s*sync_interval: always$/m);
});

/** The entries of one top-level mapping, each with its text. */
function sections(yaml: string, key: string): Map<string, string> {
  const start = yaml.indexOf(`\n${key}:\n`);
  const body = yaml.slice(start + key.length + 3).split(/\n(?=\S)/)[0] ?? '';
  return new Map(
    body.split(/\n(?= {2}[\w-]+:\n)/).flatMap((text) => {
      const name = /^ {2}([\w-]+):$/m.exec(text)?.[1];
      return name === undefined ? [] : [[name, text] as const];
    }),
  );
}
