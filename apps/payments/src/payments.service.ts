import {
  AuthorisePayment,
  CapturePayment,
  GetPayment,
  PaymentAuthorised,
  PaymentCaptured,
  PaymentDeclined,
  PaymentRefunded,
  PaymentVoided,
  RefundPayment,
  VoidPayment,
} from '@flotilla/contracts-payments';
import { defineService } from '@flotilla/contracts-protocol';

/** Authorises, captures, voids and refunds the payment of an order through a payment provider. */
export const paymentsService = defineService({
  name: 'payments',
  handles: [AuthorisePayment, CapturePayment, VoidPayment, RefundPayment, GetPayment],
  publishes: [PaymentAuthorised, PaymentDeclined, PaymentCaptured, PaymentVoided, PaymentRefunded],
});
