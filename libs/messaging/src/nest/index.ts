// Nest's programming model on the wire
export { FlotillaServer } from './flotilla-server.ts';
export { FlotillaClient } from './flotilla-client.ts';
export { FlotillaContext } from './flotilla-context.ts';
export type {
  FlotillaClientOptions,
  FlotillaServerOptions,
  TransportConnection,
} from './transport.options.ts';
export type { TransportEvents, TransportStatus } from './connection-events.ts';

// errors
export {
  HandlerFailedError,
  HandlerTimeoutError,
  InvalidDataError,
  TooManyEventsError,
  TooManyValuesError,
  WrongTypeError,
} from './transport.errors.ts';
