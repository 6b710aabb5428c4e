import { defineConfig, setting } from '@flotilla/service/config';
import { z } from 'zod';
import { fulfilmentTimeouts } from './application/sagas/fulfilment.saga.ts';
import { returnTimeouts } from './application/sagas/return.saga.ts';

const list = z.string().transform((text) =>
  text
    .split(',')
    .map((each) => each.trim())
    .filter((each) => each !== ''),
);
const milliseconds = z.coerce.number().int().positive();

export class OrdersConfig extends defineConfig({
  reviewAboveMinor: setting({
    env: 'ORDERS_REVIEW_ABOVE_MINOR',
    schema: z.coerce.number().int().nonnegative(),
    default: 50_000,
    dynamic: true,
    doc: 'when screening does not answer, orders above this total (minor units of their currency) wait for a person and smaller ones pass; higher means more risk, lower more work',
  }),
  screeningTimeoutMs: setting({
    env: 'ORDERS_SCREENING_TIMEOUT_MS',
    schema: milliseconds,
    default: fulfilmentTimeouts.screeningTimeoutMs,
    doc: 'how long the fulfilment waits for screening, milliseconds; longer delays every order while screening is down, shorter sends more large orders to a person when it is only restarting',
  }),
  reviewTimeoutMs: setting({
    env: 'ORDERS_REVIEW_TIMEOUT_MS',
    schema: milliseconds,
    default: fulfilmentTimeouts.reviewTimeoutMs,
    doc: 'how long an order waits for a person before it is rejected, milliseconds',
  }),
  shippingTimeoutMs: setting({
    env: 'ORDERS_SHIPPING_TIMEOUT_MS',
    schema: milliseconds,
    default: fulfilmentTimeouts.shippingTimeoutMs,
    doc: 'how long the fulfilment waits for dispatch, and again for delivery, before a person has to look, milliseconds',
  }),
  returnTimeoutMs: setting({
    env: 'ORDERS_RETURN_TIMEOUT_MS',
    schema: milliseconds,
    default: returnTimeouts.returnTimeoutMs,
    doc: 'how long a customer has to send goods back, milliseconds; after it the return expires and the pieces can be returned anew',
  }),
  reservationHoldMs: setting({
    env: 'ORDERS_RESERVATION_HOLD_MS',
    schema: milliseconds,
    default: fulfilmentTimeouts.reservationHoldMs,
    doc: 'how long stock is held for an order that is not confirmed, milliseconds; must be longer than the fulfilment takes from reserving to confirming at most, with a minute to spare (see ADR 0025); less frees the stock of stuck orders sooner, more bridges a longer outage of payments',
  }),
  deniedCountries: setting({
    env: 'ORDERS_SCREENING_DENIED_COUNTRIES',
    schema: list,
    default: [],
    doc: 'countries, comma-separated, to which the stand-in screener rejects orders',
  }),
  deniedCustomers: setting({
    env: 'ORDERS_SCREENING_DENIED_CUSTOMERS',
    schema: list,
    default: [],
    doc: 'customer ids, comma-separated, whose orders the stand-in screener rejects',
  }),
  reviewQuantityAbove: setting({
    env: 'ORDERS_SCREENING_REVIEW_QUANTITY_ABOVE',
    schema: z.coerce.number().int().nonnegative(),
    default: 0,
    doc: 'a line with more pieces than this makes the stand-in screener ask a person; 0 switches the rule off',
  }),
}) {}
