import * as api from './index.ts';

it('exports these names and no others', () => {
  expect(Object.keys(api).sort()).toMatchInlineSnapshot(`
    [
      "BreakerOpenError",
      "BreakersOpenError",
      "BulkheadFullError",
      "DeadlineExceededError",
      "DuplicatePolicyError",
      "InvalidPolicyOptionsError",
      "LastAnswers",
      "PolicyRegistry",
      "PolicyTimeoutError",
      "RetryBudget",
      "composePolicies",
      "createPolicy",
      "fallbackValue",
      "resolvePolicyOptions",
    ]
  `);
});
