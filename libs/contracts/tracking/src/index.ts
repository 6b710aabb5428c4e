export { GetOrder, GetTimeline, ListOrders, type OrderVersion } from './queries.ts';
export { orderView, timelineEntry, type OrderView, type TimelineEntry } from './order-view.ts';
