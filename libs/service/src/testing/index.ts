export {
  startTestService,
  type Answer,
  type RecordedEvent,
  type StartTestServiceOptions,
  type TestService,
} from './start-test-service.ts';

// without Nest's container, for simulations
export { makeBareService, type BareService, type BareServiceOptions } from './bare-service.ts';
export { serviceMigrations } from '../chassis.module.ts';
export { OutgoingMessages } from '../outgoing.ts';
export { SagaHost } from '../sagas/saga-host.ts';
