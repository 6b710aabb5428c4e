export { GetOrder, GetTimeline, ListOrders } from './queries.ts';
export { orderView, timelineEntry, type OrderView, type TimelineEntry } from './order-view.ts';
