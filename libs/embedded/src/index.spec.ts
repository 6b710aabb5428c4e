import * as api from './index.ts';

it('exports these names', () => {
  expect(Object.keys(api).sort()).toMatchInlineSnapshot();
});
