export { CancelOrder, DecideReview, PlaceOrder, RequestReturn } from './commands.ts';
export { FindOrder, ListReturns, orderReturn, type OrderReturn } from './queries.ts';
export {
  OrderAwaitingReview,
  OrderCancellationRefused,
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderPlaced,
  OrderRejected,
  OrderReturnClosed,
  OrderReturned,
  OrderReturnRequested,
  OrderReviewed,
  OrderShipped,
} from './events.ts';
export {
  isTerminal,
  orderLine,
  orderStatus,
  rejectionReason,
  returnLine,
  returnStatus,
  type OrderLine,
  type OrderStatus,
  type RejectionReason,
  type ReturnLine,
  type ReturnStatus,
} from './order.ts';
