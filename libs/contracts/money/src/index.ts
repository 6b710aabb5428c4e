export { currencyCode, money, type Money } from './money.ts';
export {
  decimalMoney,
  formatMoney,
  InvalidAmountError,
  minorUnitDigits,
  parseAmountMinor,
  type DecimalMoney,
} from './decimal-money.ts';
