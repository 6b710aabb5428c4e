import * as api from './index.ts';

it('exports these names and no others', () => {
  expect(Object.keys(api).sort()).toMatchInlineSnapshot(`
    [
      "BreakerOpenError",
      "BulkheadFullError",
      "DuplicatePolicyError",
      "InvalidPolicyOptionsError",
      "PolicyRegistry",
      "PolicyTimeoutError",
      "createPolicy",
      "resolvePolicyOptions",
    ]
  `);
});
