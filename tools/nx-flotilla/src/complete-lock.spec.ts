import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { missingPlatformPackages } from './complete-lock.mjs';

const WORKSPACE_ROOT = join(import.meta.dirname, '../../..');

describe('missingPlatformPackages', () => {
  it('adds what a lock file lacks, with the platform it is for', () => {
    expect(
      missingPlatformPackages({
        'node_modules/compiler': {
          version: '1.2.3',
          dev: true,
          optionalDependencies: {
            '@compiler/core-darwin-arm64': '1.2.3',
            '@compiler/core-linux-arm-gnueabihf': '1.2.3',
            '@compiler/core-linux-x64-gnu': '1.2.3',
          },
        },
        'node_modules/@compiler/core-linux-x64-gnu': { version: '1.2.3' },
      }),
    ).toEqual({
      'node_modules/@compiler/core-darwin-arm64': {
        version: '1.2.3',
        dev: true,
        optional: true,
        os: ['darwin'],
        cpu: ['arm64'],
      },
      'node_modules/@compiler/core-linux-arm-gnueabihf': {
        version: '1.2.3',
        dev: true,
        optional: true,
        os: ['linux'],
        cpu: ['arm'],
      },
    });
  });

  it('finds a package that is nested below its dependent', () => {
    expect(
      missingPlatformPackages({
        'node_modules/a/node_modules/b': { optionalDependencies: { 'b-darwin-x64': '1.0.0' } },
        'node_modules/a/node_modules/b-darwin-x64': { version: '1.0.0' },
      }),
    ).toEqual({});
  });

  it('leaves alone what is no platform package or has no exact version', () => {
    expect(
      missingPlatformPackages({
        'node_modules/a': { optionalDependencies: { fsevents: '2.3.3', 'b-linux-x64': '^1.0.0' } },
      }),
    ).toEqual({});
  });

  it('has nothing to add to the lock file of this workspace, so that npm ci accepts it', () => {
    const lock = JSON.parse(readFileSync(join(WORKSPACE_ROOT, 'package-lock.json'), 'utf8')) as {
      packages: Parameters<typeof missingPlatformPackages>[0];
    };
    expect(Object.keys(missingPlatformPackages(lock.packages))).toEqual([]);
  });
});
