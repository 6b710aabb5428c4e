export { ReceiveStock, ReleaseStock, ReserveStock } from './commands.ts';
export { GetStock } from './queries.ts';
export { StockReceived, StockReleased, StockReserved, StockShipped } from './events.ts';
export { stockLevels, stockLine, type StockLevels, type StockLine } from './stock.ts';
