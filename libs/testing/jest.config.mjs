import preset from '../../jest.preset.mjs';

export default preset(import.meta.url, {
  globalSetup: '<rootDir>/src/jest-global-setup.ts',
  globalTeardown: '<rootDir>/src/jest-global-teardown.ts',
});
