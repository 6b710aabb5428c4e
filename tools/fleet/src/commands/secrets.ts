import { randomBytes } from 'node:crypto';
import type { Command } from 'commander';
import { discoverServices } from '../services.ts';
import { natsGrants, passwordVariable } from '../stack/identities.ts';
import { OPERATOR_TOKEN } from '../operate/operator-http.ts';
import { passwordVariables } from '../stack/migrations.ts';
import type { CommandContext } from './shared.ts';

/** `fleet secrets` */
export function addSecrets(program: Command, { terminal }: CommandContext): void {
  program
    .command('secrets')
    .description(
      'print a new password for every role and user of a deployment, as lines NAME=value for an env file such as ' +
        'docker/.env; keeps nothing',
    )
    .action(async () => {
      const services = await discoverServices();
      const names = [
        'POSTGRES_PASSWORD',
        ...services
          .filter(({ manifest }) => manifest.database)
          .flatMap(({ name }) => passwordVariables(name)),
        ...natsGrants(services).map(({ user }) => passwordVariable(user)),
        OPERATOR_TOKEN,
      ];
      // Hexadecimal: they become part of URLs, and a value of nats-server's that looks like a number is one.
      terminal.print(names.map((name) => `${name}=p${randomBytes(24).toString('hex')}`).join('\n'));
    });
}
