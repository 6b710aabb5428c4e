import * as main from './index.ts';
import * as nest from './nest/index.ts';

it('exports these names and no others', () => {
  expect(Object.keys(main).sort()).toMatchInlineSnapshot(`
    [
      "EventLoopLag",
      "HealthRegistry",
      "continueFrom",
      "createLogger",
      "createMetrics",
      "currentContext",
      "currentOrigin",
      "currentTrace",
      "databaseAttributes",
      "httpServerAttributes",
      "messagingAttributes",
      "noMetrics",
      "openSpan",
      "runWithContext",
      "secretFields",
      "startTracing",
      "traceHeaders",
      "withSpan",
    ]
  `);
  expect(Object.keys(nest).sort()).toMatchInlineSnapshot(`
    [
      "HealthModule",
      "InvalidHealthOptionsError",
      "NestPinoLogger",
      "observeHttp",
      "resolveHealthOptions",
    ]
  `);
});
