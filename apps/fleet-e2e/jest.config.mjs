import preset from '../../jest.preset.mjs';

// A fleet is ten processes: starting it, and waiting for it under load, takes its time.
export default preset(import.meta.url, { testTimeout: 240_000 });
