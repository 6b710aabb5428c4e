export {
  startTestService,
  type Answer,
  type RecordedEvent,
  type StartTestServiceOptions,
  type TestService,
} from './start-test-service.ts';
