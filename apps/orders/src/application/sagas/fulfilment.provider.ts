import { OrdersConfig } from '../../orders.config.ts';
import { fulfilmentSaga } from './fulfilment.saga.ts';

/** The fulfilment saga with this service's time-outs. */
export type Fulfilment = ReturnType<typeof fulfilmentSaga>;
export const FULFILMENT = Symbol('FULFILMENT');

export const fulfilmentProvider = {
  provide: FULFILMENT,
  useFactory: (config: OrdersConfig): Fulfilment => fulfilmentSaga(config),
  inject: [OrdersConfig],
};
