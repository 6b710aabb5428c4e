export { AuthorisePayment, CapturePayment, RefundPayment, VoidPayment } from './commands.ts';
export { GetPayment } from './queries.ts';
export {
  PaymentAuthorised,
  PaymentCaptured,
  PaymentDeclined,
  PaymentRefunded,
  PaymentVoided,
} from './events.ts';
export { declineReason, paymentStatus, type DeclineReason, type PaymentStatus } from './payment.ts';
