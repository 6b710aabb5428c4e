export { CancelOrder, DecideReview, PlaceOrder } from './commands.ts';
export { FindOrder } from './queries.ts';
export {
  OrderAwaitingReview,
  OrderCancelled,
  OrderCompleted,
  OrderConfirmed,
  OrderPlaced,
  OrderRejected,
  OrderReviewed,
  OrderShipped,
} from './events.ts';
export {
  isTerminal,
  orderLine,
  orderStatus,
  rejectionReason,
  type OrderLine,
  type OrderStatus,
  type RejectionReason,
} from './order.ts';
