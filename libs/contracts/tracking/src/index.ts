export { GetOrder, GetTimeline, ListOrders, type OrderVersion } from './queries.ts';
export {
  orderView,
  returnView,
  timelineEntry,
  type OrderView,
  type ReturnView,
  type TimelineEntry,
} from './order-view.ts';
