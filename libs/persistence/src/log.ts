/** Where background work reports what failed and what it does about it. Nest's `Logger` fits. */
export interface PersistenceLog {
  log(message: string): void;
  warn(message: string): void;
  error(message: string, stack?: string): void;
}
