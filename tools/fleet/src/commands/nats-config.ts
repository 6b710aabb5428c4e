import type { Command } from 'commander';
import { discoverServices } from '../services.ts';
import { natsGrants, passwordVariable } from '../stack/identities.ts';
import { withJson, type CommandContext } from './shared.ts';

/** `fleet nats-config` */
export function addNatsConfig(program: Command, { terminal }: CommandContext): void {
  withJson(
    program
      .command('nats-config')
      .description(
        'print the users of the broker and what each may do, as the contracts say, for "include" in a nats.conf: ' +
          'passwords are the variables <USER>_NATS_PASSWORD, which nats-server reads from its environment',
      ),
  ).action(async ({ json }: { readonly json?: boolean }) => {
    const grants = natsGrants(await discoverServices());
    if (json === true) {
      terminal.print(
        JSON.stringify(
          grants.map((grant) => ({ ...grant, passwordVariable: passwordVariable(grant.user) })),
          null,
          2,
        ),
      );
      return;
    }
    const users = grants.map(
      ({ user, permissions }) =>
        `    { user: ${JSON.stringify(user)}, password: $${passwordVariable(user)}, permissions: ${JSON.stringify(permissions)} }`,
    );
    terminal.print(
      [
        '# Written by "fleet nats-config" from the manifests of the services. After a change of a manifest: write it again',
        '# and have the server read it ("nats-server --signal reload"); connections stay.',
        'authorization {',
        '  users: [',
        users.join('\n'),
        '  ]',
        '}',
      ].join('\n'),
    );
  });
}
