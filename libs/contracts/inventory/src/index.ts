export { ReceiveReturn, ReceiveStock, ReleaseStock, ReserveStock } from './commands.ts';
export { GetStock } from './queries.ts';
export {
  StockReceived,
  StockReleased,
  StockReservationExpired,
  StockReserved,
  StockReturned,
  StockShipped,
} from './events.ts';
export { stockLevels, stockLine, type StockLevels, type StockLine } from './stock.ts';
