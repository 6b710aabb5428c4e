export { NestPinoLogger } from './nest-pino-logger.ts';
export { HealthModule } from './health.module.ts';
export { resolveHealthOptions, type HealthOptions, type HealthOptionsInput } from './health.options.ts';
export { InvalidHealthOptionsError } from './health.errors.ts';
export { observeHttp, type ObserveHttpOptions } from './observe-http.ts';
