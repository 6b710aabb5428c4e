import { fileURLToPath } from 'node:url';
import preset from '../../jest.preset.mjs';

export default preset(import.meta.url, {
  globalSetup: fileURLToPath(import.meta.resolve('@flotilla/testing/jest-global-setup')),
  globalTeardown: fileURLToPath(import.meta.resolve('@flotilla/testing/jest-global-teardown')),
});
