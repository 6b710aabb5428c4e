import { OrdersConfig } from '../../orders.config.ts';
import { returnSaga } from './return.saga.ts';

/** The return saga with this service's time-outs. */
export type ReturnSaga = ReturnType<typeof returnSaga>;
export const RETURN = Symbol('RETURN');

export const returnProvider = {
  provide: RETURN,
  useFactory: (config: OrdersConfig): ReturnSaga => returnSaga(config),
  inject: [OrdersConfig],
};
