export { ListNotifications, notification, type Notification } from './queries.ts';
