/** The part of Moleculer that is used here. */
export interface Moleculer {
  readonly ServiceBroker: new (options: { nodeID: string; transporter: string; logLevel: string }) => {
    createService(service: {
      name: string;
      actions: Readonly<Record<string, (context: { readonly params: unknown }) => unknown>>;
    }): void;
    start(): Promise<void>;
    waitForServices(name: string, timeoutMs?: number): Promise<unknown>;
    call(action: string, params: unknown): Promise<unknown>;
  };
}
