import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Command } from 'commander';
import { systemClock } from '@flotilla/kernel';
import { signingKeyFile } from '../environment.ts';
import { FleetNotRunningError } from '../fleet.errors.ts';
import { workspaceRoot } from '../workspace.ts';
import { dirOf, withData, withJson, type CommandContext, type DataOption } from './shared.ts';

interface RotateOptions extends DataOption {
  readonly revoke?: boolean;
  readonly json?: boolean;
}

/** What the gateway's module of signing keys offers; tools do not import apps, they load them. */
interface SigningKeysModule {
  readonly rotateSigningKeys: (
    file: string,
    options: { readonly nowMs: number; readonly revoke: boolean },
  ) => Promise<readonly { readonly kid: string }[]>;
}

/** `fleet auth` */
export function addAuth(program: Command, { terminal }: CommandContext): void {
  const auth = program.command('auth').description("manage the keys of the embedded fleet's token issuer");

  withJson(
    withData(
      auth
        .command('rotate')
        .description(
          'sign tokens with a new key from now on; the gateways follow within seconds, and tokens that are about stay good until they end',
        )
        .option('--revoke', 'the keys of before count no more: every token that is about is refused'),
    ),
  ).action(async (options: RotateOptions) => {
    const dir = dirOf(options);
    // The file comes with the first start; the directory says that it was a fleet's.
    if (!existsSync(signingKeyFile(dir))) throw new FleetNotRunningError(dir.path);
    const file = join(workspaceRoot, 'apps/gateway/src/auth/signing-keys.ts');
    const { rotateSigningKeys } = (await import(pathToFileURL(file).href)) as SigningKeysModule;
    const revoke = options.revoke === true;
    const keys = await rotateSigningKeys(signingKeyFile(dir), { nowMs: systemClock.now(), revoke });
    const [signs, ...verify] = keys.map(({ kid }) => kid);
    if (options.json === true) {
      terminal.print(JSON.stringify({ signs, verify }, null, 2));
      return;
    }
    terminal.print(
      `Key ${signs} signs from now on; ${
        verify.length === 0
          ? 'no other key counts'
          : `keys of before that still verify their tokens: ${verify.length}`
      }.`,
    );
  });
}
