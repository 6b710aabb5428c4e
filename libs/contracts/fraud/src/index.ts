export { ScreenOrder, screeningVerdict, type ScreeningVerdict } from './commands.ts';
